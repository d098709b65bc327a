// SPDX-License-Identifier: Apache-2.0
//! How a store fails. The text of whatever a client caused is what containerd would say, class included, because
//! clients look at it; it can be sent as it is.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use shimkeeper_core::{HasKind, Kind};

use crate::kind::RecordKind;

/// Why a record could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such record.
    #[error("{}: not found", .0.in_full())]
    NotFound(Named),
    /// There is one already.
    #[error("{0}: already exists")]
    AlreadyExists(Named),
    /// The request can never succeed as it is.
    #[error("{0}: invalid argument")]
    Invalid(Invalid),
    /// A lease is to hold something of a type nobody knows.
    #[error("resource type {kind} not supported yet: not implemented")]
    ResourceType {
        /// The type.
        kind: String,
    },
    /// A namespace that is to be deleted is not empty.
    #[error("namespace {name:?} must be empty, but it still has {}: failed precondition", left.join(", "))]
    NotEmpty {
        /// The namespace.
        name: String,
        /// What is left in it.
        left: Vec<&'static str>,
    },
    /// The disk has no room for more records. Deleting still works.
    #[error("no space is left for the store in {}", dir.display())]
    Full {
        /// The store's directory.
        dir: PathBuf,
        /// What the file system says.
        #[source]
        source: io::Error,
    },
    /// The database could not do it.
    #[error("cannot {verb} the store in {}", dir.display())]
    Database {
        /// What was tried.
        verb: &'static str,
        /// The store's directory.
        dir: PathBuf,
        /// What the database says.
        #[source]
        source: rusqlite::Error,
    },
    /// A record is not what was written.
    #[error("the record of the {kind} {id:?} in namespace {namespace:?} is damaged: {problem}")]
    Damaged {
        /// What it is a record of.
        kind: RecordKind,
        /// Its namespace.
        namespace: String,
        /// Its id.
        id: String,
        /// What is wrong with it.
        problem: Damage,
    },
    /// One of the store's threads is gone.
    #[error("the store in {} no longer works: restart the daemon", dir.display())]
    Stopped {
        /// The store's directory.
        dir: PathBuf,
    },
    /// The disk has not given a record, or not taken a change. One that was asked for may be made yet.
    #[error("the store in {} could not be {verb} within {waited:?}: does its disk hang?", dir.display())]
    Silent {
        /// What was asked of it: to be read, or to be changed.
        verb: &'static str,
        /// The store's directory.
        dir: PathBuf,
        /// How long that was waited for.
        waited: Duration,
    },
}

/// A record's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// What it is a record of.
    pub kind: RecordKind,
    /// Its namespace.
    pub namespace: String,
    /// Its id; empty for a namespace.
    pub id: String,
}

/// What a client got wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum Invalid {
    #[error("identifier must not be empty")]
    IdEmpty,
    #[error("identifier {id:?} greater than maximum length (76 characters)")]
    IdTooLong { id: String },
    #[error("identifier {id:?} must match ^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$")]
    IdPattern { id: String },
    #[error("lease id {id:?} must be 1 to 256 bytes without control characters")]
    LeaseId { id: String },
    #[error("label key and value length ({len} bytes) greater than maximum size (4096 bytes), key: {key}")]
    LabelTooLong { len: usize, key: String },
    #[error("{of}.Extension keys must not be zero-length")]
    EmptyExtensionKey { of: &'static str },
    #[error("{field} must be set")]
    Unset { field: &'static str },
    #[error("container.Snapshotter must be set if container.SnapshotKey is set")]
    NoSnapshotter,
    #[error("{field} field is immutable")]
    Immutable { field: &'static str },
    #[error("cannot update {path:?} field on {on}")]
    Field { path: String, on: String },
    #[error("invalid resource type {kind}")]
    ResourceKind { kind: String },
    #[error("resource id must not be empty")]
    EmptyResource,
    #[error("{at}: {problem}")]
    Within { at: &'static str, problem: Box<Invalid> },
}

/// What is wrong with a record on disk.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// Its check sum does not fit.
    #[error("its check sum is not that of its content")]
    Checksum,
    /// It does not have the form of a record.
    #[error("{0}")]
    Form(serde_json::Error),
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file or directory could not be worked with.
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
    /// Another process has it open.
    #[error("the store in {} is in use by another process: is a daemon running on it?", dir.display())]
    InUse {
        /// The store's directory.
        dir: PathBuf,
    },
    /// There is no store, but there are bundles, whose records must have been in one.
    #[error(
        "there is no store in {}, but {} has bundles, {} for one: the records of their containers are lost. \
         `shimkeeper store recover` makes new ones from the bundles, `shimkeeper import --from-containerd` takes \
         over containerd's, `shimkeeper store import` reads an export",
        dir.display(), state.display(), bundle.display()
    )]
    Missing {
        /// Where the store should be.
        dir: PathBuf,
        /// The state directory.
        state: PathBuf,
        /// One of the bundles.
        bundle: PathBuf,
    },
    /// The database is damaged.
    #[error(
        "the store in {} is damaged: {problem}. Nothing in it was changed; `shimkeeper store recover` saves what \
         can be read and makes the rest from the bundles",
        dir.display()
    )]
    Damaged {
        /// The store's directory.
        dir: PathBuf,
        /// What was found.
        problem: String,
    },
    /// The file is a database, but not of ours, or of a version this build does not know.
    #[error("{} is no store of this version ({found})", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it says of itself.
        found: String,
    },
    /// The database could not be worked with, though nothing says that it is damaged.
    #[error("cannot {verb} {}", path.display())]
    Database {
        /// What was tried.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// What the database says.
        #[source]
        source: rusqlite::Error,
    },
}

// === impl ===

impl Named {
    /// As containerd names what it does not find: a container with its namespace, the others without.
    fn in_full(&self) -> String {
        match self.kind {
            RecordKind::Container | RecordKind::Sandbox => {
                format!("{self} in namespace {:?}", self.namespace)
            }
            RecordKind::Lease | RecordKind::Namespace => self.to_string(),
        }
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.kind == RecordKind::Namespace { &self.namespace } else { &self.id };
        write!(f, "{} {name:?}", self.kind)
    }
}

impl Invalid {
    /// Says where it was found.
    pub(crate) fn within(self, at: &'static str) -> Self {
        Self::Within { at, problem: Box::new(self) }
    }
}

impl StoreError {
    /// Whether it is about the store, and not about one request or one record.
    pub(crate) fn is_storage(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::Database { .. } | Self::Stopped { .. })
    }
}

impl HasKind for StoreError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotFound(_) => Kind::NotFound,
            Self::AlreadyExists(_) => Kind::AlreadyExists,
            Self::Invalid(_) => Kind::InvalidArgument,
            Self::ResourceType { .. } => Kind::NotImplemented,
            Self::NotEmpty { .. } => Kind::FailedPrecondition,
            Self::Full { .. } => Kind::ResourceExhausted,
            Self::Database { source, .. } => kind_of(source),
            Self::Damaged { .. } => Kind::DataLoss,
            Self::Stopped { .. } => Kind::Unavailable,
            Self::Silent { .. } => Kind::DeadlineExceeded,
        }
    }
}

impl HasKind for OpenError {
    fn kind(&self) -> Kind {
        match self {
            Self::File { source, .. } => Kind::of_io(source),
            Self::InUse { .. } | Self::Foreign { .. } => Kind::FailedPrecondition,
            Self::Missing { .. } | Self::Damaged { .. } => Kind::DataLoss,
            Self::Database { source, .. } => kind_of(source),
        }
    }
}

fn kind_of(error: &rusqlite::Error) -> Kind {
    use rusqlite::ErrorCode as Code;
    match error.sqlite_error_code() {
        Some(Code::DiskFull | Code::OutOfMemory) => Kind::ResourceExhausted,
        Some(Code::DatabaseBusy | Code::DatabaseLocked) => Kind::Unavailable,
        Some(Code::DatabaseCorrupt | Code::NotADatabase) => Kind::DataLoss,
        Some(Code::PermissionDenied | Code::ReadOnly) => Kind::PermissionDenied,
        _ => Kind::Unknown,
    }
}
