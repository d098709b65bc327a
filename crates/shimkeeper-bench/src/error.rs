// SPDX-License-Identifier: Apache-2.0
//! Why a measurement could not be made.

use std::io;

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    #[error("cannot {verb}")]
    Io { verb: &'static str, source: io::Error },
    #[error("cannot find the shim")]
    Shim(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("by hand: the shim answered {method} with code {code}: {message}")]
    Refused { method: &'static str, code: i32, message: String },
    #[error("by hand: `start` said {said:?}")]
    Launch { said: String },
    #[error("by hand: the answer to {method} cannot be decoded")]
    Answer { method: &'static str, source: prost::DecodeError },
    #[error("through the library: {}", .0)]
    Library(Box<shimkeeper::Error>),
    #[error("the container exited with {0}")]
    Status(u32),
    #[error("{0}")]
    Kept(String),
    #[error("a restarted manager {0}")]
    Restart(String),
    #[error("a lifecycle panicked")]
    Panicked,
}

impl BenchError {
    pub(crate) fn io(verb: &'static str, source: impl Into<io::Error>) -> Self {
        Self::Io { verb, source: source.into() }
    }
}

impl From<shimkeeper::Error> for BenchError {
    fn from(error: shimkeeper::Error) -> Self {
        Self::Library(Box::new(error))
    }
}
