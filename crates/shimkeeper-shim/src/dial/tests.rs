// SPDX-License-Identifier: Apache-2.0
//! Every form of address, as far as a machine without virtual machines can go.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net as std_net;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::*;

const LONG: Duration = Duration::from_secs(20);

async fn dial(address: &Address, mode: DialMode, allowed: Duration) -> Result<Stream, DialError> {
    open(address, mode, Deadline::after(allowed)).await
}

fn socket() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    (dir, path)
}

#[tokio::test]
async fn a_missing_socket_fails_at_once_and_says_what_that_means() {
    let (_dir, path) = socket();
    let address = Address::unix(&path);
    for (mode, meaning) in [(DialMode::Fresh, "said it listens"), (DialMode::Existing, "is gone")] {
        let error = dial(&address, mode, LONG).await.unwrap_err();
        assert!(matches!(error, DialError::Missing { .. }), "{error}");
        assert_eq!(error.kind(), Kind::Unavailable);
        let text = error.to_string();
        assert!(text.contains(path.to_str().unwrap()) && text.contains(meaning), "{text}");
    }
}

#[tokio::test]
async fn a_socket_nobody_listens_on_fails_at_once() {
    let (_dir, path) = socket();
    drop(UnixListener::bind(&path).unwrap());
    let error = dial(&Address::unix(path), DialMode::Existing, LONG).await.unwrap_err();
    assert!(matches!(error, DialError::Refused { .. }), "{error}");
    let error =
        dial(&Address::Abstract("shimkeeper-test-none".into()), DialMode::Fresh, LONG).await.unwrap_err();
    assert!(matches!(error, DialError::Refused { .. }), "{error}");
}

#[tokio::test]
async fn a_name_that_does_not_fit_is_not_tried() {
    let long = format!("/{}", "x".repeat(107));
    for address in [Address::unix(&long), Address::Abstract(long.into())] {
        let error = dial(&address, DialMode::Fresh, LONG).await.unwrap_err();
        assert!(matches!(error, DialError::NameTooLong { len: 108, .. }), "{error}");
        assert_eq!(error.kind(), Kind::InvalidArgument);
    }
    let (dir, _) = socket();
    let fits = dir.path().join("x".repeat(107 - 1 - dir.path().as_os_str().len()));
    let _listener = UnixListener::bind(&fits).unwrap();
    dial(&Address::unix(fits), DialMode::Fresh, LONG).await.unwrap();
}

#[tokio::test]
async fn an_abstract_socket_is_named_without_its_nul() {
    let name = format!("shimkeeper-test-{}", std::process::id());
    let address = std_net::SocketAddr::from_abstract_name(&name).unwrap();
    let _listener = std_net::UnixListener::bind_addr(&address).unwrap();
    dial(&Address::Abstract(name.into()), DialMode::Fresh, LONG).await.unwrap();
}

/// A hypervisor that hangs up so many times, then answers and lets the guest speak first.
async fn hypervisor(listener: UnixListener, hang_ups: usize, answer: &'static [u8]) -> (String, UnixStream) {
    for _ in 0..hang_ups {
        drop(listener.accept().await.unwrap());
    }
    let (stream, _address) = listener.accept().await.unwrap();
    let mut stream = BufReader::new(stream);
    let mut asked = String::new();
    stream.read_line(&mut asked).await.unwrap();
    let mut stream = stream.into_inner();
    stream.write_all(answer).await.unwrap();
    (asked, stream)
}

#[tokio::test]
async fn a_hypervisor_is_asked_until_the_guest_listens_and_no_byte_of_the_guest_is_lost() {
    let (_dir, path) = socket();
    let listener = UnixListener::bind(&path).unwrap();
    let address = Address::Hvsock { path: path.into(), port: 1024 };
    let (dialled, (asked, _stream)) = tokio::join!(
        dial(&address, DialMode::Fresh, LONG),
        hypervisor(listener, 2, b"OK 1073741824\nguest speaks first"),
    );
    assert_eq!(asked, "CONNECT 1024\n");
    let mut words = [0; 18];
    dialled.unwrap().read_exact(&mut words).await.unwrap();
    assert_eq!(&words, b"guest speaks first");
}

#[tokio::test]
async fn a_hypervisor_that_refuses_or_babbles_is_not_asked_again() {
    const BABBLE: &[u8] = &[b'x'; 4096];
    for (answer, shown) in [(b"ERR no such port\r\n".as_slice(), "ERR no such port"), (BABBLE, "xxx")] {
        let (_dir, path) = socket();
        let listener = UnixListener::bind(&path).unwrap();
        let address = Address::Hvsock { path: path.into(), port: 1 };
        let (dialled, _) =
            tokio::join!(dial(&address, DialMode::Fresh, LONG), hypervisor(listener, 0, answer));
        let error = dialled.unwrap_err();
        assert!(matches!(error, DialError::Hypervisor { .. }), "{error}");
        assert!(error.to_string().contains(shown) && error.to_string().len() < 512, "{error}");
    }
}

#[tokio::test]
async fn a_hypervisor_that_only_hangs_up_is_given_up_at_the_deadline() {
    let (_dir, path) = socket();
    let listener = UnixListener::bind(&path).unwrap();
    let address = Address::Hvsock { path: path.into(), port: 1 };
    let hanging_up = async {
        loop {
            drop(listener.accept().await.unwrap());
        }
    };
    tokio::select! {
        dialled = dial(&address, DialMode::Fresh, Duration::from_millis(200)) => {
            let error = dialled.unwrap_err();
            assert!(matches!(error, DialError::Deadline { obstacle: Some(_), .. }), "{error}");
            assert!(error.to_string().contains("hung up"), "{error}");
        }
        () = hanging_up => unreachable!(),
    }
}

#[tokio::test]
async fn a_hypervisor_that_says_nothing_is_given_up_at_the_deadline() {
    let (_dir, path) = socket();
    let _listener = UnixListener::bind(&path).unwrap();
    let address = Address::Hvsock { path: path.into(), port: 1 };
    let error = dial(&address, DialMode::Fresh, Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(error, DialError::Deadline { obstacle: None, .. }), "{error}");
    assert_eq!(error.kind(), Kind::DeadlineExceeded);
}

/// Whether the machine has virtual sockets, and a way to itself, decides which error it is; that it is one of these,
/// and in time, is certain.
#[tokio::test]
async fn a_virtual_socket_without_a_listener_is_a_clear_error() {
    // 1 is the machine itself.
    let address = Address::Vsock { cid: 1, port: 4_000_000_000 };
    let error = dial(&address, DialMode::Fresh, Duration::from_millis(200)).await.unwrap_err();
    let expected =
        matches!(error, DialError::NoVsock { .. } | DialError::Refused { .. } | DialError::Deadline { .. });
    assert!(expected, "{error:?}");
    assert!(error.to_string().starts_with("dial vsock://1:4000000000: "), "{error}");
}
