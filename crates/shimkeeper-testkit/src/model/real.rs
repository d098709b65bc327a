// SPDX-License-Identifier: Apache-2.0
//! A process that is one: a child of the shim, running the shim's own executable as `fake-init`.
//!
//! So its pid, its exit status and its being orphaned by a killed shim are true. It is told what to do through
//! its standard input, one word a line; its own standard streams are the paths it was given. Like a container it
//! inherits nothing from the environment of the shim, and outlives it.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::spawn::Nudge;
use super::{Behaviour, Control, Failure, Launch, Spawned};

/// The action under which the executable is such a process.
pub(crate) const ACTION: &str = "fake-init";

pub(super) fn spawn(executable: &Path, lifetime: Duration, launch: &Launch<'_>) -> io::Result<Spawned> {
    let mut command = std::process::Command::new(executable);
    command
        .arg(ACTION)
        .arg(&launch.label)
        .arg(lifetime.as_millis().to_string())
        .args([&launch.stdio.stdin, &launch.stdio.stdout, &launch.stdio.stderr])
        .args(launch.behaviour.to_args())
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = tokio::process::Command::from(command).spawn()?;
    let pid = child.id().ok_or_else(|| io::Error::other("the child was reaped before it was used"))?;
    let stdin = child.stdin.take().ok_or_else(|| io::Error::other("the child has no standard input"))?;
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let raw = raw.ok_or_else(|| io::Error::other("the child's pid is out of range"))?;
    let pidfd = pidfd_open(raw, PidfdFlags::empty())?;
    let exited = Box::pin(async move { child.wait().await.map_or(255, status_of) });
    Ok(Spawned { pid, control: Control::Real { pidfd, stdin: stdin.into_owned_fd()? }, exited })
}

/// The status as shims report it.
fn status_of(status: ExitStatus) -> u32 {
    let signalled = || 128 + status.signal().unwrap_or(127);
    status.code().unwrap_or_else(signalled).unsigned_abs()
}

pub(super) fn signal(pidfd: &OwnedFd, signal: i32) -> Result<(), Failure> {
    let signal = Signal::from_named_raw(signal).ok_or_else(|| Failure::unknown("invalid argument"))?;
    pidfd_send_signal(pidfd.as_fd(), signal).map_err(|_| Failure::already_finished())
}

pub(super) fn freeze(pidfd: &OwnedFd, frozen: bool) -> Result<(), Failure> {
    let signal = if frozen { Signal::STOP } else { Signal::CONT };
    pidfd_send_signal(pidfd.as_fd(), signal).map_err(|_| Failure::already_finished())
}

pub(super) fn tell(stdin: &OwnedFd, nudge: Nudge) -> bool {
    let word = match nudge {
        Nudge::Begin => "begin\n".to_owned(),
        Nudge::CloseStdin => "close-stdin\n".to_owned(),
        Nudge::End(status) => format!("end {status}\n"),
        Nudge::Freeze(_) => return false,
    };
    // A pipe takes a word whole, or not at all.
    rustix::io::write(stdin, word.as_bytes()).is_ok()
}

/// What the process itself hears.
enum Heard {
    Begin,
    CloseStdin,
    End(u8),
}

/// The body of the process. `args` follow the action: label, lifetime, three paths, behaviour.
pub(crate) fn run_init(args: &[String]) -> ExitCode {
    let [_label, lifetime, stdin, stdout, _stderr, behaviour @ ..] = args else { return ExitCode::from(255) };
    // As a container's init does. In the session of its shim it would be sent SIGHUP if that dies while it is frozen.
    let _ = rustix::process::setsid();
    let lifetime = Duration::from_millis(lifetime.parse().unwrap_or(0));
    let (to, heard) = mpsc::channel();
    let from_control = to.clone();
    thread::spawn(move || listen(&from_control));

    let behaviour = Behaviour::parse(behaviour);
    let mut deadline = (Instant::now() + lifetime, 0);
    loop {
        match heard.recv_timeout(deadline.0.saturating_duration_since(Instant::now())) {
            Ok(Heard::End(status)) => return ExitCode::from(status),
            Ok(Heard::CloseStdin) if behaviour == Behaviour::Cat => return ExitCode::SUCCESS,
            Ok(Heard::CloseStdin) => {}
            Ok(Heard::Begin) => match &behaviour {
                Behaviour::Exit { after, status } => {
                    deadline = (Instant::now() + *after, u8::try_from(*status).unwrap_or(255));
                }
                Behaviour::Echo(text) => {
                    copy(format!("{text}\n").as_bytes(), stdout);
                    return ExitCode::SUCCESS;
                }
                Behaviour::Cat => {
                    let (done, stdin, stdout) = (to.clone(), PathBuf::from(stdin), stdout.clone());
                    thread::spawn(move || {
                        if let Ok(from) = File::open(stdin) {
                            copy(from, &stdout);
                        }
                        // The main thread may be gone already, which is what was wanted.
                        let _ = done.send(Heard::End(0));
                    });
                }
                Behaviour::Sleep | Behaviour::Stubborn | Behaviour::Missing => {}
            },
            Err(RecvTimeoutError::Timeout) => return ExitCode::from(deadline.1),
            Err(RecvTimeoutError::Disconnected) => return ExitCode::from(255),
        }
    }
}

/// Passes on what the shim says. When the shim dies this ends, and the process goes on without it.
fn listen(to: &mpsc::Sender<Heard>) {
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        let heard = match line.split_once(' ') {
            Some(("end", status)) => Heard::End(status.parse().unwrap_or(255)),
            _ if line == "begin" => Heard::Begin,
            _ => Heard::CloseStdin,
        };
        if to.send(heard).is_err() {
            return;
        }
    }
}

/// Copies to a path as far as anybody takes it; without a path, to nowhere.
fn copy(mut from: impl Read, to: &str) {
    let Ok(mut out) = OpenOptions::new().write(true).open(if to.is_empty() { "/dev/null" } else { to })
    else {
        return;
    };
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        if out.write_all(&buffer[..n]).is_err() {
            return;
        }
    }
}
