// SPDX-License-Identifier: Apache-2.0
//! Runs the binary as a manager does.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use shimkeeper_testkit::{Answer, EventRecorder, SCRIPT_ENV, SOCKET_DIR_ENV, Script, TestDirs, TestSpec};
use tokio::process::Command;
use tokio::time::timeout;

use crate::client::{Client, DEADLINE, Protocol};

/// The binary.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_containerd-shim-fake-v2");
/// The one container of these tests.
pub(crate) const ID: &str = "one";

/// A bundle, a script and a recorder, for any number of runs of the binary.
pub(crate) struct Bench {
    pub(crate) dirs: TestDirs,
    pub(crate) bundle: PathBuf,
    pub(crate) recorder: EventRecorder,
    script: PathBuf,
}

impl Bench {
    pub(crate) fn new(script: &Script, args: &[&str]) -> Self {
        let dirs = TestDirs::new();
        let file = dirs.path().join("script.json");
        script.write(&file).unwrap();
        let bundle = dirs.bundle(ID, &TestSpec::fake(args).to_bytes());
        let recorder = EventRecorder::bind(dirs.socket("events")).unwrap();
        Self { dirs, bundle, recorder, script: file }
    }

    pub(crate) fn command(&self, action: &str) -> Command {
        let mut command = Command::new(BINARY);
        command
            .args(["-namespace", "ns", "-id", ID, "-address", "/none", "-publish-binary", "/none"])
            .args(["-bundle".as_ref(), self.bundle.as_os_str()])
            .arg(action)
            .current_dir(&self.bundle)
            .env(SCRIPT_ENV, &self.script)
            .env(SOCKET_DIR_ENV, self.dirs.sockets())
            .env("TTRPC_ADDRESS", self.recorder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs an action to its end, which includes that of its pipes.
    pub(crate) async fn run(&self, action: &str) -> Output {
        timeout(DEADLINE, self.command(action).output()).await.expect("the action ends").unwrap()
    }

    /// Whether an action is still running after so long.
    pub(crate) async fn hangs(&self, action: &str, patience: Duration) -> bool {
        timeout(patience, self.command(action).output()).await.is_err()
    }

    /// Shuts the server down, and waits until it is gone.
    pub(crate) async fn end(&self, client: &Client) {
        client.shutdown(ID).await;
        self.dirs.idle(DEADLINE).await.unwrap();
    }

    /// Starts the server, and connects as the answer says.
    pub(crate) async fn client(&self) -> Client {
        let (socket, protocol) = self.serve().await;
        Client::dial(&socket, protocol).await
    }

    /// Starts the server.
    pub(crate) async fn serve(&self) -> (PathBuf, Protocol) {
        let output = self.run("start").await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let protocol = match (answer["protocol"].as_str().unwrap(), answer["version"].as_u64().unwrap()) {
            ("grpc", 3) => Protocol::GrpcV3,
            ("ttrpc", 2) => Protocol::TtrpcV2,
            ("ttrpc", 3) => Protocol::TtrpcV3,
            other => panic!("{other:?}"),
        };
        (socket_of(answer["address"].as_str().unwrap()), protocol)
    }
}

/// The path of an address.
pub(crate) fn socket_of(address: &str) -> PathBuf {
    Path::new(address.strip_prefix("unix://").unwrap()).to_owned()
}

/// The answer that leads to a protocol.
pub(crate) fn answer_for(protocol: Protocol) -> Answer {
    match protocol {
        Protocol::TtrpcV2 => Answer::ttrpc_v2(),
        Protocol::TtrpcV3 => Answer::ttrpc_v3(),
        Protocol::GrpcV3 => Answer::grpc_v3(),
    }
}
