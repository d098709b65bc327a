// SPDX-License-Identifier: Apache-2.0
//! Deviations of a running shim: what it does around one RPC, at `delete`, to its events and on its log.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Blob, Method};

/// What to do at which call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The RPC.
    pub method: Method,
    /// Whether the shim has done what was asked when the act happens.
    #[serde(default)]
    pub when: When,
    /// At which call of the method, from 1; absent: at every call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nth: Option<u32>,
    /// The act.
    pub act: Act,
}

/// On which side of the honest work an act happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// The shim has not begun; an act that answers keeps it from ever doing so.
    #[default]
    Before,
    /// The shim has done it; an act that answers replaces the honest answer.
    After,
}

/// A deviation at one call. `Ok`, `Delay`, `AwaitFile` and `Emit` let the call go on, the others end it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Nothing.
    Ok,
    /// Answers with this status.
    Err {
        /// The gRPC code.
        code: i32,
        /// The message.
        text: String,
    },
    /// Never answers.
    Hang,
    /// The shim is killed, as by SIGKILL; in-process: everything it holds is dropped.
    Die,
    /// Waits this many milliseconds.
    Delay(u64),
    /// Waits until this file exists: the way for a test to decide when.
    AwaitFile(PathBuf),
    /// Writes these bytes to the connection instead of an answer.
    Raw(Blob),
    /// Answers with more than a message may have: ttrpc a frame of 4 MiB and one byte, gRPC a message of 5 MiB.
    Oversize,
    /// Sends the honest answer, but on a stream nobody asked on.
    WrongStream,
    /// Sends an answer that is no protobuf message.
    GarbagePb,
    /// Sends the honest answer twice.
    AnswerTwice,
    /// Closes this connection and the listener; the process lives.
    Close,
    /// Closes this connection only; new ones are accepted.
    CloseThenAcceptNew,
    /// From now on reads nothing from this connection, and does not answer.
    StopReading,
    /// Forwards an event of the test's choice.
    Emit(Emission),
}

/// An event made up by a test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Emission {
    /// The namespace; empty: the shim's own.
    #[serde(default)]
    pub namespace: String,
    /// The topic, for example `/tasks/exit`.
    pub topic: String,
    /// Full name of the payload's type.
    pub type_url: String,
    /// The payload.
    pub value: Blob,
}

/// What one run of the `delete` action does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeleteAct {
    /// Kills the container, and answers.
    Ok,
    /// Touches nothing and exits with this code.
    Exit(i32),
    /// Touches nothing and never ends.
    Hang,
    /// Does its work, but leaves a child that holds the standard streams for so many milliseconds.
    Grandchild(u64),
    /// Touches nothing, prints what is no message and exits with 0.
    Garbage,
}

/// Which events reach the manager, and in which order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Events {
    /// All, in order.
    #[default]
    Normal,
    /// None.
    None,
    /// Every exit twice.
    DuplicateExit,
    /// The start of a process only after its exit.
    Reorder,
}

/// Text for the log FIFO.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogText {
    /// The text, escape codes and all.
    pub text: String,
    /// How often it is written.
    #[serde(default = "once")]
    pub times: u64,
}

fn once() -> u64 {
    1
}

impl Act {
    /// Answers with this code and text.
    pub fn err(code: i32, text: impl Into<String>) -> Self {
        Self::Err { code, text: text.into() }
    }
}

impl Rule {
    pub(super) fn is_due(&self, method: Method, when: When, nth: u32) -> bool {
        (self.method == Method::Any || self.method == method)
            && self.when == when
            && self.nth.is_none_or(|wanted| wanted == nth)
    }
}

impl LogText {
    /// Writes `text` so many times.
    pub fn new(text: impl Into<String>, times: u64) -> Self {
        Self { text: text.into(), times }
    }
}
