// SPDX-License-Identifier: Apache-2.0
//! One run of a binary that is not trusted to end, to be brief, or to clean up after itself.
//!
//! ```text
//! run ──► exited, or deadline, or too much output ──► (Outcome, Group)
//!                         caller looks at the answer ──► Group::settle(good?) ──► group killed unless good, child reaped
//! ```
//! The child is not reaped before the caller has decided: while it is not, its process group id cannot be used
//! again, so killing the group hits nobody else.

use std::fmt;
use std::io;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::elsewhere::elsewhere_or_here;
use crate::identity::Pidfd;

/// What is tried when a process is spawned.
pub(super) const RUN: &str = "run";

/// Longest answer, and most that is kept of standard error, in bytes.
pub(super) const MAX_OUTPUT: usize = 64 * 1024;

/// How long the pipes may stay open after the binary has exited: it has written by then, and whoever holds them
/// still is somebody else.
const PIPE_GRACE: Duration = Duration::from_millis(100);

/// How long a killed child is waited for. One that is stuck in the kernel is left for the runtime to reap.
const REAP_GRACE: Duration = Duration::from_millis(500);

/// How much is read at a time, in bytes.
const CHUNK: usize = 8 * 1024;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It returned, with this code.
    Code(i32),
    /// A signal with this number ended it.
    Signal(i32),
}

/// Why a run was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Exited(Ended),
    Deadline,
    TooMuchOutput,
}

/// A run that could not be carried out; becomes `LaunchError::Spawn`.
#[derive(Debug)]
pub(super) struct ProcessFailed {
    pub(super) verb: &'static str,
    pub(super) source: io::Error,
}

/// What came of a run.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) end: End,
    pub(super) stdout: Vec<u8>,
    /// The beginning and the end of it.
    pub(super) stderr: Vec<u8>,
}

/// The process group of a child that was not reaped yet. Dropping it kills the group.
#[derive(Debug)]
pub(super) struct Group {
    child: Child,
    pid: Pid,
}

/// The first and the last bytes of a stream.
#[derive(Debug, Default)]
struct Ends {
    head: Vec<u8>,
    tail: std::collections::VecDeque<u8>,
}

/// Our ends of the child's pipes; closed when dropped, whoever has the other ends.
struct Pipes {
    stdin: Option<(ChildStdin, Vec<u8>)>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    answer: Vec<u8>,
    text: Ends,
}

/// Runs the command until it exits, is too long, or says too much. Without input its standard input is empty.
pub(super) async fn run(
    command: Command,
    stdin: Option<Vec<u8>>,
    deadline: Duration,
) -> Result<(Outcome, Group), ProcessFailed> {
    let ends_at = Instant::now() + deadline;
    let (group, mut pipes) = spawn(command, stdin, ends_at).await?;
    let pidfd = group.pidfd()?;
    let end = match timeout_at(ends_at, pipes.until_exit(&pidfd)).await {
        Err(_) => End::Deadline,
        Ok(Err(source)) => return Err(ProcessFailed { verb: "read the output of", source }),
        Ok(Ok(false)) => End::TooMuchOutput,
        Ok(Ok(true)) => End::Exited(group.ended()?),
    };
    Ok((Outcome { end, stdout: pipes.answer, stderr: pipes.text.into_bytes() }, group))
}

/// Spawns it on another thread, which stands still until the child has become the binary: for half a millisecond, or
/// for as long as the binary's disk hangs. A child that comes too late for us is killed by whoever drops it there.
async fn spawn(
    command: Command,
    input: Option<Vec<u8>>,
    ends_at: Instant,
) -> Result<(Group, Pipes), ProcessFailed> {
    let failed = |source| ProcessFailed { verb: RUN, source };
    match timeout_at(ends_at, elsewhere_or_here(|| spawn_here(command, input))).await {
        Ok(Ok(spawned)) => spawned.map_err(failed),
        Ok(Err(join)) => Err(failed(join.into())),
        Err(elapsed) => Err(failed(elapsed.into())),
    }
}

fn spawn_here(mut command: Command, input: Option<Vec<u8>>) -> io::Result<(Group, Pipes)> {
    if input.is_some() {
        command.stdin(Stdio::piped());
    }
    let mut child = command.spawn()?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    let pipes = Pipes {
        stdin: child.stdin.take().zip(input),
        stdout: child.stdout.take(),
        stderr: child.stderr.take(),
        answer: Vec::new(),
        text: Ends::default(),
    };
    Ok((Group { child, pid: pid.expect("a child that was not waited for has a pid") }, pipes))
}

// === impl Pipes ===

impl Pipes {
    /// Moves bytes until the process has exited and its pipes are closed or their grace is over; false if the
    /// answer is too long.
    async fn until_exit(&mut self, pidfd: &Pidfd) -> io::Result<bool> {
        let mut exited = std::pin::pin!(pidfd.exited());
        let mut grace = std::pin::pin!(sleep(Duration::ZERO));
        let (mut answer, mut text) = (vec![0; CHUNK], vec![0; CHUNK]);
        let mut gone = false;
        while !gone || self.stdout.is_some() || self.stderr.is_some() {
            tokio::select! {
                // In this order: a stream that never ends must not hide the exit.
                biased;
                () = &mut grace, if gone => break,
                result = &mut exited, if !gone => {
                    result.map_err(io::Error::other)?;
                    gone = true;
                    grace.as_mut().reset(Instant::now() + PIPE_GRACE);
                }
                read = read(&mut self.stdout, &mut answer), if self.stdout.is_some() => {
                    self.answer.extend_from_slice(&answer[..read?]);
                    if self.answer.len() > MAX_OUTPUT {
                        return Ok(false);
                    }
                }
                read = read(&mut self.stderr, &mut text), if self.stderr.is_some() => {
                    self.text.push(&text[..read?]);
                }
                () = feed(&mut self.stdin), if self.stdin.is_some() => {}
            }
        }
        Ok(true)
    }
}

/// Reads some; forgets the pipe at its end.
async fn read<R: AsyncRead + Unpin>(pipe: &mut Option<R>, buffer: &mut [u8]) -> io::Result<usize> {
    let Some(open) = pipe else { return Ok(0) };
    let read = open.read(buffer).await?;
    if read == 0 {
        *pipe = None;
    }
    Ok(read)
}

/// Writes some; closes the pipe when all is written, or when nobody reads, which is not our concern.
async fn feed(stdin: &mut Option<(ChildStdin, Vec<u8>)>) {
    let Some((pipe, rest)) = stdin else { return };
    let written = if rest.is_empty() { 0 } else { pipe.write(rest).await.unwrap_or(0) };
    rest.drain(..written);
    if written == 0 || rest.is_empty() {
        *stdin = None;
    }
}

// === impl Ends ===

impl Ends {
    fn push(&mut self, bytes: &[u8]) {
        let room = (MAX_OUTPUT / 2).saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..room]);
        self.tail.extend(&bytes[room..]);
        let excess = self.tail.len().saturating_sub(MAX_OUTPUT / 2);
        self.tail.drain(..excess);
    }

    fn into_bytes(self) -> Vec<u8> {
        let mut bytes = self.head;
        bytes.extend(self.tail);
        bytes
    }
}

// === impl Group ===

impl Group {
    /// Ends the run: kills the group unless it is to stay, and reaps the child.
    pub(super) async fn settle(mut self, good: bool) {
        if !good {
            self.kill();
        }
        let _ = timeout(REAP_GRACE, self.child.wait()).await;
    }

    fn pidfd(&self) -> Result<Pidfd, ProcessFailed> {
        let failed = |source| ProcessFailed { verb: "watch", source };
        let pid = self.pid.as_raw_nonzero().get().unsigned_abs();
        let held = Pidfd::of(pid).map_err(|error| failed(io::Error::other(error)))?;
        held.map(|(pidfd, _)| pidfd).ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
    }

    /// How the child ended, without reaping it.
    fn ended(&self) -> Result<Ended, ProcessFailed> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let status = rustix::process::waitid(WaitId::Pid(self.pid), options)
            .map_err(|errno| ProcessFailed { verb: "wait for", source: errno.into() })?;
        let status = status.as_ref();
        let code = status.and_then(rustix::process::WaitIdStatus::exit_status);
        let signal = status.and_then(rustix::process::WaitIdStatus::terminating_signal);
        Ok(code.map(Ended::Code).or(signal.map(Ended::Signal)).unwrap_or(Ended::Code(-1)))
    }

    fn kill(&self) {
        // Not reaped as long as it has an id, so the group id is still its own. Nobody left in it is fine.
        if self.child.id().is_some() {
            let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit status {code}"),
            Self::Signal(number) => write!(f, "killed by signal {number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_a_long_text_are_kept() {
        let mut ends = Ends::default();
        ends.push(b"first");
        for _ in 0..100 {
            ends.push(&[b'x'; 4000]);
        }
        ends.push(b"last");
        let bytes = ends.into_bytes();
        assert_eq!(bytes.len(), MAX_OUTPUT);
        assert!(bytes.starts_with(b"firstx") && bytes.ends_with(b"xlast"));
        let mut ends = Ends::default();
        ends.push(b"short");
        assert_eq!(ends.into_bytes(), b"short");
    }
}
