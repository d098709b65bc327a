// SPDX-License-Identifier: Apache-2.0
//! Why two daemons could not be compared.

use std::io;
use std::path::PathBuf;

use crate::error::BenchError;

/// Why there are no figures of two daemons.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AgainstError {
    #[error("no containerd to measure against: name one with --against, or run `cargo xtask deps --tests`")]
    Nobody,
    #[error("{} says no version", .0.display())]
    Version(PathBuf),
    #[error("there is no {}", .0.display())]
    Missing(PathBuf),
    #[error("cannot {verb} {}", path.display())]
    File { verb: &'static str, path: PathBuf, source: io::Error },
    #[error("{daemon} {what}; its log ends with:\n{log}")]
    Daemon { daemon: String, what: &'static str, log: String },
    #[error("cannot open a session with the daemon")]
    Session(#[source] shimkeeper_client::OpenError),
    #[error("{call}: {:?}: {}", status.code(), status.message())]
    Refused { call: &'static str, status: tonic::Status },
    #[error("{call} was not answered in time")]
    Late { call: &'static str },
    #[error("{0}")]
    Unexpected(String),
    #[error(transparent)]
    Bench(#[from] Box<BenchError>),
}

impl AgainstError {
    pub(crate) fn file(verb: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { verb, path, source }
    }
}

impl From<BenchError> for AgainstError {
    fn from(error: BenchError) -> Self {
        Self::Bench(Box::new(error))
    }
}
