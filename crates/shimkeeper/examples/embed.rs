// SPDX-License-Identifier: Apache-2.0
//! A container in a program: create, start, exec, wait, delete.
//!
//! ```text
//! cargo run --example embed -- /path/to/rootfs
//! ```
//! Needs root, runc and its shim; any directory with a busybox in it will do for the root file system.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use shimkeeper::oci::ContainerSpec;
use shimkeeper::{Config, CreateTask, ExecTask, Manager, Stdio, TaskKey};
use tokio::io::AsyncReadExt as _;

type AnyError = Box<dyn std::error::Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), AnyError> {
    let rootfs = std::env::args().nth(1).ok_or("usage: embed ROOTFS")?;
    let dir = tempfile::Builder::new().prefix("shimkeeper-").tempdir()?;
    let manager = Manager::open(Config::new(dir.path().join("state"), dir.path().join("root"))).await?;

    let key = TaskKey::parse("example", "embed")?;
    let spec = ContainerSpec::new(rootfs, ["/bin/sleep", "60"]).to_json()?;
    let task = manager.create(CreateTask::new(key, spec)).await?;
    println!("started as process {}", task.start().await?);

    let process = br#"{"args": ["/bin/hostname"], "cwd": "/", "env": ["PATH=/bin"]}"#;
    let exec = ExecTask::new("ask".parse()?, process.as_slice()).stdio(Stdio::Piped { stdin: false });
    let exec = task.exec(exec).await?;
    let mut stdout = exec.take_io().and_then(|io| io.stdout).ok_or("it was made with pipes")?;
    exec.start().await?;
    let mut hostname = String::new();
    stdout.read_to_string(&mut hostname).await?;
    println!("inside it is called {:?}", hostname.trim());
    println!("the exec ended with {}", exec.wait().await?.status);
    exec.delete().await?;

    task.kill(9, true).await?;
    let exit = task.wait().await?;
    println!("it ended with {} ({})", exit.status, exit.provenance);
    task.delete().await?;
    manager.detach().await;
    Ok(())
}
