// SPDX-License-Identifier: Apache-2.0
//! One event per call at debug level: which shim, which method, how it went, how long it took.
//!
//! Alone in its process: whether an event is wanted is remembered for the process, not for the thread, so tests
//! beside it that want none could answer for it.

use std::io;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shimkeeper_core::Namespace;
use shimkeeper_proto::containerd::task::v3 as task;
use shimkeeper_shim::{Address, BootstrapParams, Call, Connection, DialMode, TaskApi};
use tokio_util::task::TaskTracker;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no writer panics").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a call to a silent shim leaves in a log of this level.
async fn logged(level: &str) -> Vec<String> {
    let log = Log::default();
    let writer = log.clone();
    let ours: Targets = format!("off,shimkeeper_shim={level}").parse().expect("a filter");
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || writer.clone());
    let subscriber = tracing_subscriber::registry().with(ours).with(lines);
    // The test's runtime has one thread, so this is everybody's.
    let default = tracing::subscriber::set_default(subscriber);

    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("s");
    let _silent = UnixListener::bind(&path).expect("a socket");
    let params = BootstrapParams { api: TaskApi::TtrpcV3, address: Address::unix(path) };
    let (namespace, tasks) = (Namespace::default_namespace(), TaskTracker::new());
    let patience = Duration::from_secs(20);
    let connection = Connection::dial(&params, &namespace, DialMode::Fresh, &tasks, patience).await;
    let call = Call::within(Duration::from_millis(50));
    let answer = connection.expect("a connection").kill(&call, &task::KillRequest::default()).await;
    assert!(answer.is_err());

    drop(default);
    let text = log.0.lock().expect("no writer panics").clone();
    String::from_utf8(text).expect("a log is text").lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_call_is_one_line_at_debug_level_and_none_above() {
    let lines = logged("debug").await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    for part in ["unix://", "method=\"Kill\"", "outcome=\"deadline exceeded\"", "elapsed=", "error=Kill: "] {
        assert!(lines[0].contains(part), "{part}: {}", lines[0]);
    }
    assert_eq!(logged("info").await, Vec::<String>::new());
}
