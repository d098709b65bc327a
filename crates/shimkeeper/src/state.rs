// SPDX-License-Identifier: Apache-2.0
//! What a shim says a process is doing.

use std::time::SystemTime;

use shimkeeper_core::{Exit, Provenance};
use shimkeeper_proto::containerd::task::v3::StateResponse;
use shimkeeper_proto::containerd::v1::types::Status as WireStatus;

use crate::convert;

/// Where a process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// Made, not started.
    Created,
    /// Running.
    Running,
    /// Ended, not deleted.
    Stopped,
    /// Frozen.
    Paused,
    /// About to be frozen.
    Pausing,
    /// The shim does not know.
    Unknown,
}

impl Status {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Paused => "paused",
            Self::Pausing => "pausing",
            Self::Unknown => "unknown",
        }
    }
}

/// A shim's answer to the question for a process's state.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessState {
    /// Where it is in its life.
    pub status: Status,
    /// Its process id on the host; 0 if the shim names none.
    pub pid: u32,
    /// How it ended, once it has.
    pub exit: Option<Exit>,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// Path or URI of its standard input; empty if none.
    pub stdin: String,
    /// Path or URI of its standard output; empty if none.
    pub stdout: String,
    /// Path or URI of its standard error; empty if none.
    pub stderr: String,
}

impl ProcessState {
    /// The state of a process that has ended, and whose shim is no more to tell of it.
    pub(crate) fn of_ended(exit: Exit) -> Self {
        Self {
            status: Status::Stopped,
            pid: exit.pid,
            exit: Some(exit),
            terminal: false,
            stdin: String::new(),
            stdout: String::new(),
            stderr: String::new(),
        }
    }

    /// `known` is the exit on record, which is the one everybody is told.
    pub(crate) fn new(answer: StateResponse, known: Option<Exit>) -> Self {
        let status = match WireStatus::try_from(answer.status) {
            Ok(WireStatus::Created) => Status::Created,
            Ok(WireStatus::Running) => Status::Running,
            Ok(WireStatus::Stopped) => Status::Stopped,
            Ok(WireStatus::Paused) => Status::Paused,
            Ok(WireStatus::Pausing) => Status::Pausing,
            Ok(WireStatus::Unknown) | Err(_) => Status::Unknown,
        };
        let reported = || {
            let at = convert::moment(answer.exited_at.as_ref());
            Exit {
                pid: answer.pid,
                status: answer.exit_status,
                at: at.unwrap_or_else(SystemTime::now),
                provenance: Provenance::Observed,
            }
        };
        let exit = if status == Status::Stopped { known.or_else(|| Some(reported())) } else { None };
        Self {
            status,
            pid: answer.pid,
            exit,
            terminal: answer.terminal,
            stdin: answer.stdin,
            stdout: answer.stdout,
            stderr: answer.stderr,
        }
    }
}
