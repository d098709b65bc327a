// SPDX-License-Identifier: Apache-2.0
//! What can go wrong with a run of a shim's binary.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use shimkeeper_core::{HasKind, Kind};

use super::process::{End, Ended, MAX_OUTPUT, Outcome, ProcessFailed, RUN};
use crate::bootstrap::{BootstrapError, BootstrapParams};
use crate::resolve::ShimBinary;
use crate::text;

/// What the binary was asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Launch a shim.
    Start,
    /// Reap what a shim left.
    Delete,
    /// Tell about itself.
    Info,
}

/// Why a run of a shim's binary gave no usable answer. Text of the shim in it is printable and at most 1 KiB.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// It could not be run, or not be watched.
    #[error("cannot {verb} {} for shim {action}", path.display())]
    Spawn {
        /// The action.
        action: Action,
        /// What was tried.
        verb: &'static str,
        /// The binary.
        path: PathBuf,
        /// Why. `NotFound` is also said when the bundle is gone.
        #[source]
        source: io::Error,
    },
    /// It reported failure.
    #[error("shim {action} failed: {}{ended}", Prefix(output))]
    Exit {
        /// The action.
        action: Action,
        /// How it ended.
        ended: Ended,
        /// What it wrote.
        output: String,
        /// Where the shim listens that it announced nevertheless.
        announced: Option<Box<BootstrapParams>>,
    },
    /// It does not know the action.
    #[error("the shim does not know {action}")]
    Unsupported {
        /// The action.
        action: Action,
    },
    /// It did not exit in time, and was killed.
    #[error("shim {action} did not finish within {after:?}: {}it was killed", Prefix(output))]
    Deadline {
        /// The action.
        action: Action,
        /// The time it had.
        after: Duration,
        /// What it wrote.
        output: String,
        /// Where the shim listens that it announced nevertheless.
        announced: Option<Box<BootstrapParams>>,
    },
    /// Its answer had no end, and it was killed.
    #[error("shim {action} printed more than {MAX_OUTPUT} bytes: it was killed")]
    TooMuchOutput {
        /// The action.
        action: Action,
    },
    /// It launched something, and did not say where it listens.
    #[error("shim start gave no usable answer{}", Suffix(stderr))]
    Answer {
        /// What is wrong with the answer.
        #[source]
        source: BootstrapError,
        /// What it wrote to its standard error.
        stderr: String,
    },
    /// Its answer is not the message it should be.
    #[error("shim {action} answered {len} bytes that are no {expected}, beginning with {head}")]
    Garbage {
        /// The action.
        action: Action,
        /// The message's name.
        expected: &'static str,
        /// How many bytes there were.
        len: usize,
        /// The first of them, in hexadecimal.
        head: String,
    },
}

// === impl LaunchError ===

impl LaunchError {
    /// Where a shim listens that was announced by a call that failed after all. Whatever is there was launched
    /// for this bundle, and must be ended.
    pub fn announced(&self) -> Option<&BootstrapParams> {
        match self {
            Self::Exit { announced, .. } | Self::Deadline { announced, .. } => announced.as_deref(),
            Self::Spawn { .. }
            | Self::Unsupported { .. }
            | Self::TooMuchOutput { .. }
            | Self::Answer { .. }
            | Self::Garbage { .. } => None,
        }
    }

    /// Whether it never came to a process, for want of one: the kernel had none to give.
    pub fn found_no_process(&self) -> bool {
        // What fails with another error may do so when the child is there.
        matches!(self, Self::Spawn { verb: RUN, source, .. } if source.kind() == io::ErrorKind::WouldBlock)
    }

    /// Of a second run.
    pub(super) fn again(self) -> Self {
        match self {
            Self::Spawn { action, verb: RUN, path, source } => {
                Self::Spawn { action, verb: "run again", path, source }
            }
            other => other,
        }
    }

    pub(super) fn of_process(action: Action, binary: &ShimBinary, failed: ProcessFailed) -> Self {
        let ProcessFailed { verb, source } = failed;
        Self::Spawn { action, verb, path: binary.path().to_owned(), source }
    }

    /// For every end but success.
    pub(super) fn of_end(
        action: Action,
        outcome: &Outcome,
        deadline: Duration,
        announced: Option<Box<BootstrapParams>>,
    ) -> Self {
        // Some shims report their errors where the answer belongs.
        let silent = outcome.stderr.trim_ascii().is_empty() && announced.is_none();
        let output = text::excerpt(if silent { &outcome.stdout } else { &outcome.stderr });
        match outcome.end {
            End::Exited(ended) => Self::Exit { action, ended, output, announced },
            End::Deadline => Self::Deadline { action, after: deadline, output, announced },
            End::TooMuchOutput => Self::TooMuchOutput { action },
        }
    }

    pub(super) fn garbage(action: Action, expected: &'static str, bytes: &[u8]) -> Self {
        Self::Garbage { action, expected, len: bytes.len(), head: text::hex_head(bytes) }
    }
}

impl HasKind for LaunchError {
    fn kind(&self) -> Kind {
        match self {
            Self::Spawn { source, .. } => Kind::of_io(source),
            Self::Exit { .. } | Self::TooMuchOutput { .. } => Kind::FailedPrecondition,
            Self::Unsupported { .. } => Kind::NotImplemented,
            Self::Deadline { .. } => Kind::DeadlineExceeded,
            Self::Answer { source, .. } => source.kind(),
            Self::Garbage { .. } => Kind::DataLoss,
        }
    }
}

// === impl Action ===

impl Action {
    /// As it stands on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Delete => "delete",
            Self::Info => "-info",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

struct Prefix<'a>(&'a str);
struct Suffix<'a>(&'a str);

impl fmt::Display for Prefix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, "{}: ", self.0) }
    }
}

impl fmt::Display for Suffix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " ({})", self.0) }
    }
}
