// SPDX-License-Identifier: Apache-2.0
//! From READY to the end, and what signals do in between.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use shimkeeper_client::Session;
use shimkeeper_proto::containerd::services::version::v1::version_client::VersionClient;
use shimkeeper_proto::google::protobuf::Empty;
use shimkeeper_testkit::TestDirs;
use tokio::time::timeout;

use crate::crowd::serves;
use crate::support::{BINARY, Daemon, PATIENCE, flags, limited, mode, output, plain, until};

#[test]
fn it_tells_its_service_manager_when_it_serves_and_when_it_stops() {
    let mut daemon = Daemon::start();
    let sockets = [daemon.address(), daemon.dirs.socket("c.sock.ttrpc")];
    for socket in &sockets {
        UnixStream::connect(socket).unwrap();
        assert_eq!(mode(socket), 0o660, "{}", socket.display());
    }
    assert_eq!(mode(&daemon.dirs.state()), 0o711);
    assert_eq!(mode(&daemon.dirs.root()), 0o700);

    let asked = Instant::now();
    assert!(daemon.stop().success());
    // Nothing was in flight, so nothing was waited for.
    assert!(asked.elapsed() < Duration::from_secs(4), "it took {:?}", asked.elapsed());
    daemon.heard("STOPPING=1");
    for socket in &sockets {
        assert!(!socket.exists(), "{} is left", socket.display());
    }
}

#[test]
fn interrupted_it_ends_as_well() {
    let mut daemon = Daemon::start();
    daemon.signal(Signal::INT);
    assert!(daemon.ended().success());
}

#[test]
fn after_a_kill_the_next_one_takes_the_stale_sockets() {
    let mut daemon = Daemon::start();
    daemon.kill();
    assert!(daemon.address().exists(), "nobody was there to remove it");
    daemon.start_again();
    UnixStream::connect(daemon.address()).unwrap();
}

#[test]
fn a_second_one_is_refused_and_the_first_serves_on() {
    let daemon = Daemon::start();
    let (code, _, told) = output(&mut plain(&daemon.dirs));
    assert_eq!(code, Some(125));
    assert!(told.contains(&format!("is in use by process {}", daemon.pid())), "{told}");
    assert!(told.contains("hint: stop that process first"), "{told}");

    // With a socket of its own it is the directories that are taken.
    let mut other = plain(&daemon.dirs);
    other.arg("--address").arg(daemon.dirs.socket("o.sock"));
    let mut args: Vec<_> = other.get_args().map(ToOwned::to_owned).collect();
    let at = args.iter().position(|arg| arg == "--address").unwrap();
    args.drain(at..at + 2);
    let (code, _, told) = output(Command::new(other.get_program()).args(args));
    assert_eq!(code, Some(125));
    assert!(told.contains(&format!("is in use by process {}", daemon.pid())), "{told}");
    assert!(!daemon.dirs.socket("o.sock").exists());
    UnixStream::connect(daemon.address()).unwrap();
}

#[test]
fn the_log_level_changes_while_it_runs_and_a_wrong_file_changes_nothing() {
    let daemon = Daemon::start();
    let config = daemon.dirs.path().join("config.toml");
    std::fs::write(&config, "[limits]\nconnection = 1\n").unwrap();
    daemon.signal(Signal::HUP);
    let log = daemon.logged("the configuration stays as it was");
    assert!(log.contains("config.toml:2: unknown key `connection`"), "{log}");

    std::fs::write(&config, "oom_score = 5\n[debug]\nlevel = \"error\"\n").unwrap();
    daemon.signal(Signal::HUP);
    daemon.logged("these changes of the configuration count from the next start on");
    daemon.heard("RELOADING=1");
    // Twice: after the wrong file too.
    daemon.heard("READY=1");
    daemon.heard("READY=1");

    daemon.signal(Signal::USR1);
    std::fs::write(&config, "[debug]\nlevel = \"info\"\n").unwrap();
    daemon.signal(Signal::HUP);
    daemon.heard("READY=1");
    assert!(!daemon.log().contains("dump"), "it is below the level: {}", daemon.log());
    daemon.signal(Signal::USR1);
    daemon.logged("uptime");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_cannot_be_read_at_once_stops_nobody() {
    let daemon = Daemon::start();
    let config = daemon.dirs.path().join("config.toml");
    std::fs::remove_file(&config).unwrap();
    mknodat(CWD, &config, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    daemon.signal(Signal::HUP);
    daemon.heard("RELOADING=1");
    let asked = async {
        let session = Session::open(&daemon.address()).await.unwrap();
        VersionClient::new(session).version(Empty {}).await.unwrap();
    };
    timeout(PATIENCE, asked).await.expect("whoever calls is answered");
    std::fs::write(&config, "[limits]\nconnection = 1\n").unwrap();
    let log = daemon.logged("the configuration stays as it was");
    assert!(log.contains("config.toml:2: unknown key `connection`"), "{log}");
    daemon.heard("READY=1");

    daemon.signal(Signal::HUP);
    let told = daemon.logged("timed out");
    assert!(told.contains("cannot read"), "{told}");
    daemon.heard("READY=1");
}

#[test]
fn its_log_can_be_objects() {
    let dirs = TestDirs::new();
    flags(&dirs);
    std::fs::write(dirs.path().join("config.toml"), "[debug]\nformat = \"json\"\n").unwrap();
    let daemon = Daemon::start_in(dirs, plain);
    let log = daemon.logged("serving");
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["level"].is_string() && line["message"].is_string(), "{line}");
    }
}

#[cfg(not(feature = "otel"))]
#[test]
fn spans_that_the_environment_asks_for_and_nobody_sends_are_told() {
    let daemon = Daemon::start_as(|dirs| {
        let mut command = plain(dirs);
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317");
        command
    });
    let log = daemon.logged("built without traces");
    assert!(log.contains("OTEL_EXPORTER_OTLP_ENDPOINT"), "{log}");
}

#[test]
fn the_watchdog_is_fed() {
    let daemon = Daemon::start_as(|dirs| {
        let mut command = plain(dirs);
        command.env("WATCHDOG_USEC", "200000");
        command
    });
    let begun = Instant::now();
    daemon.heard("WATCHDOG=1");
    daemon.heard("WATCHDOG=1");
    assert!(begun.elapsed() < PATIENCE);
}

#[test]
fn a_service_manager_that_hears_no_more_stops_nobody() {
    let daemon = Daemon::start_as(|dirs| {
        let mut command = plain(dirs);
        command.env("WATCHDOG_USEC", "10000");
        command
    });
    daemon.logged("the service manager cannot be told anything");
    assert!(serves(&daemon));
}

#[test]
fn nothing_wakes_it_up_when_nothing_happens() {
    let daemon = Daemon::start();
    let switches = || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
        let statuses =
            tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("status")).ok());
        let count = |status: String| {
            let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
            line.trim().parse::<u64>().ok()
        };
        statuses.filter_map(count).sum::<u64>()
    };
    // What was begun at the start comes to its end; then two wake-ups a second would be too many already.
    until("rest", || {
        let (before, begun) = (switches(), Instant::now());
        while begun.elapsed() < Duration::from_secs(2) {
            std::thread::park_timeout(Duration::from_millis(100));
        }
        // A thread that ends takes its count with it; and that is no rest yet.
        switches().checked_sub(before).filter(|switches| *switches <= 4).map(drop)
    });
}

#[test]
fn it_opens_more_files_when_it_must_and_its_shims_do_not_notice() {
    let daemon = Daemon::start_as(|dirs| limited(&plain(dirs), "ulimit -Sn 100 && ulimit -Hn 600"));
    let open_files = || {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).unwrap();
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
        line.split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>()
    };
    let shim = daemon.dirs.path().join("containerd-shim-limits-v1");
    std::fs::write(&shim, "#!/bin/sh\necho soft $(ulimit -Sn) hard $(ulimit -Hn) >&2\nexit 1\n").unwrap();
    std::fs::set_permissions(&shim, std::fs::Permissions::from_mode(0o755)).unwrap();
    let launched = || {
        let mut run = Command::new(BINARY);
        run.args(["run", "-d", "--rootfs", "/", "--address"]).arg(daemon.address());
        run.arg("--runtime").arg(&shim).arg("/bin/true");
        let (_, _, told) = output(&mut run);
        assert!(told.contains("soft 100 hard 600"), "{told}");
    };
    launched();
    assert_eq!(open_files(), ["100", "600"]);
    let clients: Vec<_> = (0..100).map(|_| UnixStream::connect(daemon.address()).unwrap()).collect();
    until("more files", || (open_files() == ["600", "600"]).then_some(()));
    launched();
    drop(clients);
}
