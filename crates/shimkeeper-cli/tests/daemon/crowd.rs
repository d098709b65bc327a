// SPDX-License-Identifier: Apache-2.0
//! Too many clients, and clients that speak nonsense: the daemon stays small, and serves whoever makes sense.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use shimkeeper_testkit::TestDirs;
use shimkeeper_testkit::deps::{self, Generation};

use crate::support::{Daemon, PATIENCE, flags, output, plain, until};

/// What the daemon may have at most beside what it has anyway, in KiB: a thousand connections, and what they sent.
const MOST_MORE: u64 = 64 << 10;

/// What the daemon has, in KiB.
pub(crate) fn memory(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Whether an honest client is answered.
pub(crate) fn serves(daemon: &Daemon) -> bool {
    let mut ctr = Command::new(deps::bin_dir(Generation::V1_7).join("ctr"));
    ctr.arg("--address").arg(daemon.address()).arg("version");
    let (code, out, _) = output(&mut ctr);
    code == Some(0) && out.contains(env!("CARGO_PKG_VERSION"))
}

#[test]
fn nonsense_on_either_socket_ends_its_connection_and_nothing_else() {
    let daemon = Daemon::start();
    let before = memory(&daemon);
    let nonsense: [Vec<u8>; 5] = [
        vec![0; 100_000],
        vec![0xff; 100_000],
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        // What both begin with, and then a frame that says it has four gigabytes.
        [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &[0xff; 9], &vec![7; 60_000]].concat(),
        (0..100_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect(),
    ];
    for round in 0..20 {
        for socket in [daemon.address(), daemon.dirs.socket("c.sock.ttrpc")] {
            for bytes in &nonsense {
                let mut stream = UnixStream::connect(&socket).unwrap();
                stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                // It may have been thrown out in the middle of it.
                let _ = stream.write_all(bytes);
                let _ = stream.shutdown(std::net::Shutdown::Write);
                let mut answer = Vec::new();
                let ended = (&mut stream).take(1 << 20).read_to_end(&mut answer);
                let timed_out = |e: &std::io::Error| e.kind() == std::io::ErrorKind::WouldBlock;
                assert!(!ended.as_ref().is_err_and(timed_out), "round {round}: it was kept");
            }
        }
    }
    assert!(serves(&daemon), "{}", daemon.log());
    let more = memory(&daemon).saturating_sub(before);
    assert!(more < MOST_MORE, "{more} KiB more than before");
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A question for the version, on this stream.
fn question(stream: u32) -> Vec<u8> {
    const HEADERS: [(&str, &str); 5] = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/containerd.services.version.v1.Version/Version"),
        (":authority", "x"),
        ("content-type", "application/grpc"),
    ];
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let headers = HEADERS.map(|(name, value)| [&[0], &*text(name), &*text(value)].concat()).concat();
    [frame(1, 4, stream, &headers), frame(0, 1, stream, &[0; 5])].concat()
}

#[test]
fn who_reads_no_answer_is_not_read_from_for_ever() {
    let dirs = TestDirs::new();
    flags(&dirs);
    std::fs::write(dirs.path().join("config.toml"), "[limits]\ncalls_per_connection = 16\n").unwrap();
    let daemon = Daemon::start_in(dirs, plain);
    let mut deaf = UnixStream::connect(daemon.address()).unwrap();
    deaf.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    deaf.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    deaf.write_all(&frame(4, 0, 0, &[])).unwrap();
    // Far more than the sockets hold of answers and of questions, and a thousand between them: it is hung up on, or waits.
    let refused = (0..50_000).find_map(|n| deaf.write_all(&question(2 * n + 1)).err());
    assert!(refused.is_some(), "all was read");
    assert!(serves(&daemon), "{}", daemon.log());
}

#[test]
fn when_descriptors_run_out_it_waits_and_then_goes_on() {
    let few = |dirs: &TestDirs| {
        let inner = plain(dirs);
        let mut command = Command::new("prlimit");
        command.arg("--nofile=64:64").arg(inner.get_program()).args(inner.get_args());
        command
    };
    let daemon = Daemon::start_as(few);
    let crowd: Vec<_> = (0..200).map(|_| UnixStream::connect(daemon.address()).unwrap()).collect();
    daemon.logged("cannot accept; will try again");
    // Spinning, it would use a second of processor time in each.
    let used = |daemon: &Daemon| {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).unwrap();
        let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().map(str::to_owned).collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let before = used(&daemon);
    let begun = std::time::Instant::now();
    until("two seconds", || (begun.elapsed() > Duration::from_secs(2)).then_some(()));
    assert!(used(&daemon) - before < 50, "ticks of a hundredth second: {}", used(&daemon) - before);
    drop(crowd);
    until("service", || serves(&daemon).then_some(()));
}

#[test]
fn a_thousand_that_say_nothing_keep_nobody_out() {
    let dirs = TestDirs::new();
    raise_own_limit();
    let daemon = Daemon::start_in(dirs, plain);
    let before = memory(&daemon);
    let crowd: Vec<_> = (0..1000).map(|_| UnixStream::connect(daemon.address()).unwrap()).collect();
    let descriptors = Path::new("/proc").join(daemon.pid().to_string()).join("fd");
    until("connections", || (std::fs::read_dir(&descriptors).unwrap().count() > 1000).then_some(()));
    assert!(serves(&daemon));
    let more = memory(&daemon).saturating_sub(before);
    assert!(more < MOST_MORE, "{more} KiB more than before");
    drop(crowd);
    until("less", || (std::fs::read_dir(&descriptors).unwrap().count() < 100).then_some(()));
    assert!(serves(&daemon));
}

/// A thousand connections have a thousand ends here, too, and the daemon gets the same limit.
fn raise_own_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
}
