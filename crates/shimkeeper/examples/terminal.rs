// SPDX-License-Identifier: Apache-2.0
//! A shell in a container, on your own terminal.
//!
//! ```text
//! cargo run --example terminal -- /path/to/rootfs [COMMAND...]
//! ```
//! Needs root, runc and its shim; any directory with a busybox in it will do for the root file system.

#![expect(clippy::print_stderr, reason = "an example speaks to whoever runs it")]

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use rustix::fs::{Mode, OFlags, open};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use shimkeeper::oci::ContainerSpec;
use shimkeeper::{Config, CreateTask, Exit, Manager, ProcessIo, Stdio, Task, TaskKey};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};

type AnyError = Box<dyn std::error::Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, AnyError> {
    let mut args = std::env::args().skip(1);
    let rootfs = std::path::absolute(args.next().ok_or("usage: terminal ROOTFS [COMMAND...]")?)?;
    let mut command: Vec<_> = args.collect();
    if command.is_empty() {
        command.push("/bin/sh".into());
    }
    if !io::stdin().is_terminal() {
        return Err("standard input is no terminal".into());
    }

    let dir = tempfile::Builder::new().prefix("shimkeeper-").tempdir()?;
    let manager = Manager::open(Config::new(dir.path().join("state"), dir.path().join("root"))).await?;
    let size = tcgetwinsize(io::stdin())?;
    let spec = ContainerSpec::new(rootfs, command).terminal(true).console_size(size.ws_row, size.ws_col);
    let key = TaskKey::parse("example", "terminal")?;
    let request = CreateTask::new(key, spec.to_json()?).stdio(Stdio::Terminal { stdin: true });
    let task = manager.create(request).await?;

    let ran = run(&task).await;
    if ran.is_err() {
        // Whatever went wrong, nothing is to stay behind; it may have ended by itself.
        let _ = task.kill(9, true).await;
        let _ = task.wait().await;
    }
    task.delete().await?;
    manager.detach().await;
    let exit = ran?;
    eprintln!("it ended with {} ({})", exit.status, exit.provenance);
    Ok(ExitCode::from(u8::try_from(exit.status).unwrap_or(u8::MAX)))
}

/// Starts the task, and passes on what is typed and shown until it has ended.
async fn run(task: &Task) -> Result<Exit, AnyError> {
    let io = task.take_io().ok_or("it was made with a terminal")?;
    let mut resized = signal(SignalKind::window_change())?;
    task.start().await?;
    let _raw = RawMode::enter()?;
    let passing = pass_on(io);
    tokio::pin!(passing);
    loop {
        // Also once at the start: the terminal of the container is there only now.
        let size = tcgetwinsize(io::stdin())?;
        tokio::select! {
            passed = &mut passing => { passed?; break }
            resize = async {
                task.resize(size.ws_col.into(), size.ws_row.into()).await?;
                resized.recv().await;
                Ok::<_, shimkeeper::Error>(())
            } => {
                // A shell that has just ended has no terminal to resize; the output's end says the rest.
                if resize.is_err() {
                    passing.as_mut().await?;
                    break;
                }
            }
        }
    }
    Ok(task.wait().await?)
}

/// Passes on what is typed and shown, until there is no more to show.
async fn pass_on(io: ProcessIo) -> Result<(), AnyError> {
    let (Some(mut stdin), Some(mut stdout)) = (io.stdin, io.stdout) else {
        return Err("a terminal has both directions".into());
    };
    let typing = async {
        // A descriptor of its own, which may be set not to block: the terminal is shared with who started us. It is no
        // pipe, but is read like one.
        let mut keys = pipe::Receiver::from_file_unchecked(reopened_terminal()?)?;
        let mut typed = [0; 1024];
        loop {
            let read = keys.read(&mut typed).await?;
            if read == 0 {
                break;
            }
            stdin.write_all(&typed[..read]).await?;
        }
        // The end of the input would hang up the container's terminal, so it is kept.
        std::future::pending::<Result<(), AnyError>>().await
    };
    let showing = async {
        let (mut terminal, mut shown) = (tokio::io::stdout(), vec![0; 16 << 10]);
        loop {
            let read = stdout.read(&mut shown).await?;
            if read == 0 {
                return Ok::<(), AnyError>(());
            }
            terminal.write_all(&shown[..read]).await?;
            terminal.flush().await?;
        }
    };
    tokio::select! {
        typed = typing => typed,
        shown = showing => shown,
    }
}

fn reopened_terminal() -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(open("/proc/self/fd/0", flags, Mode::empty())?.into())
}

/// The terminal passes on every key as it is; as before once this is dropped.
struct RawMode(Termios);

impl RawMode {
    fn enter() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Flush, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // There is nobody left to tell.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}
