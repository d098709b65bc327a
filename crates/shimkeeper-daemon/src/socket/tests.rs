// SPDX-License-Identifier: Apache-2.0
//! Whose name is taken and whose is not.

use std::os::unix::net::UnixStream;

use tempfile::TempDir;

use super::*;

fn dir() -> TempDir {
    tempfile::Builder::new().prefix("shimkeeper-").tempdir_in("/tmp").unwrap()
}

fn open(path: &Path) -> Result<Socket, SocketError> {
    Socket::open(path, (None, None), &mut Activated::default())
}

fn me() -> u32 {
    std::process::id()
}

#[test]
fn it_is_made_with_its_mode_and_goes_with_its_owner() {
    let dir = dir();
    let path = dir.path().join("deep/er/s.sock");
    let socket = open(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    assert_eq!(std::fs::metadata(dir.path().join("deep")).unwrap().permissions().mode() & 0o777, 0o711);
    UnixStream::connect(&path).unwrap();
    drop(socket);
    assert!(!path.exists());
    open(&path).unwrap();
}

#[test]
fn a_live_one_is_not_stolen() {
    let dir = dir();
    let path = dir.path().join("s.sock");
    std::fs::write(dir.path().join("s.sock.lock"), "4294967295\n").unwrap();
    let ours = open(&path).unwrap();
    assert!(matches!(open(&path), Err(SocketError::Live { holder, .. }) if holder == Some(me())));
    drop(ours);

    // One of somebody who knows nothing of claims, and who does not even accept.
    let foreign = UnixListener::bind(&path).unwrap();
    let error = open(&path).unwrap_err();
    assert!(matches!(&error, SocketError::Live { holder, .. } if *holder == Some(me())), "{error}");
    assert_eq!(error.kind(), Kind::FailedPrecondition);
    assert!(path.exists());
    drop(foreign);
    open(&path).unwrap();
}

#[test]
fn one_whose_backlog_is_full_is_live() {
    let dir = dir();
    let path = dir.path().join("s.sock");
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let foreign = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
    rustix::net::bind(&foreign, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    rustix::net::listen(&foreign, 0).unwrap();
    let waiting = UnixStream::connect(&path).unwrap();
    assert!(matches!(open(&path), Err(SocketError::Live { holder: None, .. })));
    drop(waiting);
}

#[test]
fn only_a_socket_is_replaced() {
    let dir = dir();
    let path = dir.path().join("s.sock");
    std::fs::write(&path, "precious").unwrap();
    assert!(matches!(open(&path), Err(SocketError::NotASocket { .. })));
    std::fs::remove_file(&path).unwrap();
    let elsewhere = dir.path().join("other.sock");
    let _foreign = UnixListener::bind(&elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    assert!(matches!(open(&path), Err(SocketError::NotASocket { .. })), "a link is not followed");
    assert!(elsewhere.exists());
}

#[test]
fn what_has_taken_the_name_since_is_left_alone() {
    let dir = dir();
    let path = dir.path().join("s.sock");
    let socket = open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    drop(socket);
    assert!(path.exists());
}
