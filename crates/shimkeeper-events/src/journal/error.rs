// SPDX-License-Identifier: Apache-2.0
//! How a journal fails, and what is missing from it.

use std::io;
use std::path::PathBuf;

use shimkeeper_core::{HasKind, Kind};

/// Numbers whose events are not, or no longer, in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The first number missing.
    pub from: u64,
    /// The last number missing.
    pub to: u64,
}

/// Why something could not be done with a journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A file or the directory could not be worked with.
    #[error("cannot {verb} {}", path.display())]
    File {
        /// What was tried.
        verb: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The directory belongs to somebody else, who could put anything there.
    #[error("{} belongs to user {owner}, not to us", path.display())]
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
    },
    /// What should be a file is something else.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// What it is called.
        path: PathBuf,
    },
    /// Another process has the journal open.
    #[error("the journal in {} is in use by another process", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// Events of a batch are not on disk. They carry numbers only if it could be noted that these are given.
    #[error("events {} to {} could not be kept", lost.from, lost.to)]
    Append {
        /// Number of the first event of the batch, whether lost or not.
        first: u64,
        /// The numbers of those that were lost: always the rest of the batch.
        lost: Gap,
        /// Why.
        #[source]
        source: Box<JournalError>,
    },
    /// A number was named that was never given.
    #[error("event {since} is not known here: the last is {last}")]
    Ahead {
        /// The number named.
        since: u64,
        /// The last one given.
        last: u64,
    },
}

impl HasKind for JournalError {
    fn kind(&self) -> Kind {
        match self {
            Self::File { source, .. } => Kind::of_io(source),
            Self::NotOurs { .. } => Kind::PermissionDenied,
            Self::NotAFile { .. } | Self::Locked { .. } => Kind::FailedPrecondition,
            Self::Append { source, .. } => source.kind(),
            Self::Ahead { .. } => Kind::OutOfRange,
        }
    }
}
