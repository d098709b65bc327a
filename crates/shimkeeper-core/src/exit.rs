// SPDX-License-Identifier: Apache-2.0
//! How a process ended, and how we know.

use std::fmt;
use std::time::SystemTime;

/// Where the knowledge of an exit status comes from. A guess is never dressed up as a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Provenance {
    /// The shim reported it while we were connected.
    Observed,
    /// Asked for after the fact: from the shim after we were away, or from the kernel through a pidfd.
    Recovered,
    /// Follows from something we did or saw (we sent SIGKILL and the process is gone), not from a report.
    Inferred,
    /// The process is gone and nobody can say how it ended; the status is a placeholder.
    Unknown,
}

impl Provenance {
    /// The word used in logs, records and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Observed => "observed",
            Self::Recovered => "recovered",
            Self::Inferred => "inferred",
            Self::Unknown => "unknown",
        }
    }

    /// The provenance with this word, if there is one.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Observed, Self::Recovered, Self::Inferred, Self::Unknown]
            .into_iter()
            .find(|p| p.as_str() == word)
    }
}

impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The end of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Process id on the host; 0 if it was never known.
    pub pid: u32,
    /// Exit code, or 128 + signal number, as shims report it.
    pub status: u32,
    /// When it ended.
    pub at: SystemTime,
    /// How the status is known.
    pub provenance: Provenance,
}

impl Exit {
    /// The placeholder status the protocol uses where nobody knows the real one.
    pub const UNKNOWN_STATUS: u32 = 255;

    /// A process that is gone without anybody being able to say how.
    pub fn unknown(pid: u32, at: SystemTime) -> Self {
        Self { pid, status: Self::UNKNOWN_STATUS, at, provenance: Provenance::Unknown }
    }
}
