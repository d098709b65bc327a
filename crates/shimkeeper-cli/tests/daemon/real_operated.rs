// SPDX-License-Identifier: Apache-2.0
//! What an operator sees of a shim that is stuck: in the figures, in the dump, and by timeouts that change meanwhile.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustix::process::{Signal, kill_process};
use shimkeeper_testkit::deps::Generation;
use shimkeeper_testkit::stop_process;

use crate::real::{Host, shim};
use crate::support::{PATIENCE, until};

const CONFIGURATION: &str = "[metrics]\naddress = \"127.0.0.1:0\"\ngrpc_histogram = true\n";

/// Where the figures are, by the log: the port was left to the kernel.
fn address(host: &Host) -> SocketAddr {
    let log = host.daemon.logged("figures are served");
    let line = log.lines().rfind(|line| line.contains("figures are served")).unwrap();
    line.split_once("Some(").unwrap().1.split_once(')').unwrap().0.parse().unwrap()
}

/// The answer to a GET: its head and its body.
fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// A figure, by its name and labels.
fn figure(address: SocketAddr, series: &str) -> Option<f64> {
    read(&get(address, "/metrics").1, series)
}

fn read(body: &str, series: &str) -> Option<f64> {
    body.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

fn becomes(address: SocketAddr, series: &str, wanted: impl Fn(f64) -> bool) {
    until(series, || figure(address, series).filter(|value| wanted(*value)));
}

/// Has the daemon read this configuration, and waits until it has.
fn reload(host: &Host, configuration: &str) {
    const READ: &str = "configuration read again";
    let before = host.daemon.log().matches(READ).count();
    std::fs::write(host.daemon.dirs.path().join("config.toml"), configuration).unwrap();
    host.daemon.signal(Signal::HUP);
    until(READ, || (host.daemon.log().matches(READ).count() > before).then_some(()));
}

#[test]
fn who_does_not_ask_or_does_not_read_keeps_the_figures_from_nobody() {
    let host = Host::configured(Generation::V2_1, CONFIGURATION);
    let at = address(&host);
    let mut greedy: Vec<_> = (0..16).map(|_| TcpStream::connect(at).unwrap()).collect();
    for stream in greedy.iter_mut().step_by(2) {
        stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
        // As many as there is room for.
        let question = b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n".repeat(2000);
        let _ = stream.write_all(&question);
    }
    assert!(get(at, "/metrics").1.contains("shimkeeper_"));
}

#[test]
fn a_stuck_shim_is_seen_and_timeouts_change_meanwhile() {
    let host = Host::configured(Generation::V2_1, CONFIGURATION);
    let at = address(&host);
    host.sleeper("steady-one");
    let (head, body) = get(at, "/v1/metrics");
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/plain; version=0.0.4"), "{head}");
    let runtime = "runtime=\"io.containerd.runc.v2\"";
    for (series, value) in [
        ("shimkeeper_shims{state=\"serving\",health=\"healthy\"}".to_owned(), 1.0),
        ("shimkeeper_store_records{kind=\"container\"}".to_owned(), 1.0),
        ("shimkeeper_adoption_finished".to_owned(), 1.0),
        (format!("shimkeeper_shim_calls_total{{{runtime},method=\"launch\",code=\"Ok\"}}"), 1.0),
        (format!("shimkeeper_shim_calls_total{{{runtime},method=\"Create\",code=\"Ok\"}}"), 1.0),
        (format!("shimkeeper_shim_timeouts_total{{{runtime},method=\"Create\"}}"), 0.0),
    ] {
        assert_eq!(read(&body, &series), Some(value), "{series} in\n{body}");
    }
    let tasks = "service=\"containerd.services.tasks.v1.Tasks\",method=\"Create\"";
    assert!(body.contains(&format!("shimkeeper_api_requests_total{{{tasks},code=\"Ok\"}} 1\n")), "{body}");
    assert!(body.contains(&format!("shimkeeper_api_request_seconds_count{{{tasks}}} 1\n")), "{body}");
    assert!(!body.contains("steady-one"), "no series is a container's");
    assert!(get(at, "/").0.starts_with("HTTP/1.1 404"));

    reload(&host, &format!("{CONFIGURATION}[timeouts]\nkill = \"321ms\"\nstate = \"300ms\"\n"));
    let shim = shim(&host, "steady-one");
    stop_process(shim.as_raw_pid().unsigned_abs());
    host.bad(["tasks", "kill", "--signal", "TERM", "steady-one"], "no answer within 321ms");
    becomes(at, &format!("shimkeeper_shim_timeouts_total{{{runtime},method=\"Kill\"}}"), |value| {
        value >= 1.0
    });
    becomes(at, "shimkeeper_shims{state=\"serving\",health=\"stuck\"}", |value| value >= 1.0);
    host.daemon.signal(Signal::USR1);
    let log = host.daemon.logged("reason=\"it gave no sign of life");
    let line = log.lines().rfind(|line| line.contains("no sign of life")).unwrap();
    assert!(line.contains("namespace=default task=steady-one") && line.contains("health=stuck"), "{line}");

    // What is honest gets the time it takes on a busy machine.
    reload(&host, CONFIGURATION);
    kill_process(shim, Signal::CONT).unwrap();
    becomes(at, "shimkeeper_shims{state=\"serving\",health=\"healthy\"}", |value| value >= 1.0);
    host.remove("steady-one");
    let log = host.daemon.log();
    let audited: Vec<&str> = log.lines().filter(|line| line.contains("shimkeeper::audit")).collect();
    for method in ["Create", "Start", "Kill", "Delete"] {
        let line = audited.iter().find(|line| line.contains(&format!("method=\"{method}\"")));
        let line = line.unwrap_or_else(|| panic!("{method} is not in {audited:#?}"));
        assert!(line.contains("namespace=default task=steady-one"), "{line}");
        assert!(line.contains("uid=0 pid="), "{line}");
    }
    // Whoever is first, the shim or the kernel.
    until("an exit", || get(at, "/metrics").1.contains("shimkeeper_exits_total{provenance=").then_some(()));
    becomes(at, "shimkeeper_shims{state=\"serving\",health=\"healthy\"}", |value| value < 1.0);
    host.close();
}
