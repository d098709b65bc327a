// SPDX-License-Identifier: Apache-2.0
//! Sockets that a service manager made, and sockets of others.

use std::io::Read as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};

use shimkeeper_testkit::TestDirs;

use crate::support::{BINARY, Daemon, collect, flags, output, plain, until};

/// Started with both sockets made already, by the tool that does what the service manager would.
fn activated(dirs: &TestDirs) -> Command {
    let mut command = Command::new("systemd-socket-activate");
    command.arg("--listen").arg(dirs.socket("c.sock"));
    command.arg("--listen").arg(dirs.socket("c.sock.ttrpc"));
    // It passes on nothing that it is not told to.
    command.arg("--setenv").arg(format!("NOTIFY_SOCKET={}", dirs.path().join("notify").display()));
    command.arg(BINARY).arg("daemon").args(flags(dirs));
    command
}

#[test]
fn sockets_of_the_service_manager_are_taken_and_left() {
    let dirs = TestDirs::new();
    let address = dirs.socket("c.sock");
    // It waits for somebody to connect before it starts us.
    let client = std::thread::spawn({
        let address = address.clone();
        move || until("socket", || UnixStream::connect(&address).ok())
    });
    let mut daemon = Daemon::start_in(dirs, activated);
    let _client = client.join().unwrap();
    let inode = std::fs::metadata(&address).unwrap();
    assert!(daemon.stop().success());
    let left = std::fs::metadata(&address).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::ino(&inode), std::os::unix::fs::MetadataExt::ino(&left));
}

#[test]
fn a_passed_socket_that_nobody_asked_for_is_told() {
    let dirs = TestDirs::new();
    let mut command = Command::new("systemd-socket-activate");
    command.arg("--listen").arg(dirs.socket("other.sock"));
    command.arg(BINARY).arg("daemon").args(flags(&dirs));
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It waits for somebody to connect before it starts us.
    let _client = until("socket", || UnixStream::connect(dirs.socket("other.sock")).ok());
    let (code, _, told) = collect(child);
    assert_eq!(code, Some(125), "{told}");
    assert!(told.contains("other.sock, which is neither grpc.address nor ttrpc.address"), "{told}");
}

#[test]
fn a_live_socket_of_somebody_else_is_not_stolen() {
    let dirs = TestDirs::new();
    let theirs = UnixListener::bind(dirs.socket("c.sock.ttrpc")).unwrap();
    let (code, _, told) = output(&mut plain(&dirs));
    assert_eq!(code, Some(125));
    assert!(told.contains(&format!("c.sock.ttrpc is in use by process {}", std::process::id())), "{told}");
    let client = UnixStream::connect(dirs.socket("c.sock.ttrpc")).unwrap();
    // Ours looked whether somebody listens; that one comes first.
    drop(theirs.accept().unwrap());
    drop(theirs.accept().unwrap());
    drop(client);
    assert!(!dirs.socket("c.sock").exists(), "what was made before is gone again");
}

#[test]
fn a_client_too_many_sees_the_end_and_the_others_go_on() {
    let dirs = TestDirs::new();
    flags(&dirs);
    std::fs::write(dirs.path().join("config.toml"), "[limits]\nconnections_per_user = 2\n").unwrap();
    let daemon = Daemon::start_in(dirs, plain);
    let first = UnixStream::connect(daemon.address()).unwrap();
    let second = UnixStream::connect(daemon.address()).unwrap();
    let mut third = UnixStream::connect(daemon.address()).unwrap();
    assert_eq!(third.read(&mut [0]).unwrap(), 0);
    daemon.logged("this user has as many as one may have");
    drop((first, second));
    until("room", || {
        let mut next = UnixStream::connect(daemon.address()).ok()?;
        next.set_read_timeout(Some(std::time::Duration::from_millis(200))).unwrap();
        // One that is served is not closed; the server says nothing before the client does, or its settings.
        let answer = next.read(&mut [0]);
        (!matches!(answer, Ok(0))).then_some(())
    });
}
