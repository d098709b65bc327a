// SPDX-License-Identifier: Apache-2.0
//! Why the daemon does not run.

use std::io;

use shimkeeper_core::{HasKind, Kind};

use crate::{ConfigError, SocketError};

/// Why the daemon did not start, or did not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DaemonError {
    /// The configuration is wrong.
    #[error("the configuration is wrong")]
    Config {
        /// What is.
        #[from]
        source: ConfigError,
    },
    /// A socket cannot be had.
    #[error("there is no socket to serve on")]
    Socket {
        /// Why not.
        #[from]
        source: SocketError,
    },
    /// The library cannot use the directories.
    #[error("the tasks cannot be looked after")]
    Library {
        /// Why not.
        #[from]
        source: shimkeeper::Error,
    },
    /// The system refused something that cannot be done without.
    #[error("cannot {verb}")]
    System {
        /// What was tried.
        verb: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// There is no address to give figures at.
    #[error("cannot listen on {address} for metrics")]
    Metrics {
        /// The address.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// Spans cannot be sent.
    #[error("cannot send spans")]
    Traces {
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The records cannot be used.
    #[error("the records of containers cannot be used")]
    Store {
        /// Why not.
        #[from]
        source: shimkeeper_store::OpenError,
    },
}

impl DaemonError {
    /// What to do about it.
    pub fn hint(&self) -> &str {
        match self {
            Self::Config { source: ConfigError::Text { .. } } => {
                "correct the file; `shimkeeper config check` looks at it without starting anything"
            }
            Self::Config { .. } => {
                "correct it; `shimkeeper config default` prints every key with its default"
            }
            Self::Socket { source: SocketError::Live { .. } } => {
                "stop that process first, or choose another socket with --address"
            }
            Self::Socket { .. } => "see grpc.address and ttrpc.address in `shimkeeper config dump`",
            Self::Library { source } => {
                source.hint().unwrap_or("see root and state in `shimkeeper config dump`")
            }
            Self::Metrics { .. } => "see metrics.address in `shimkeeper config dump`; empty, there are none",
            Self::Traces { .. } => {
                "see tracing.endpoint in `shimkeeper config dump`, and OTEL_EXPORTER_OTLP_ENDPOINT"
            }
            Self::System { .. } => "check the limits on processes and open files",
            Self::Store { .. } => "nothing was changed; the tasks go on",
        }
    }
}

impl HasKind for DaemonError {
    fn kind(&self) -> Kind {
        match self {
            Self::Config { source } => source.kind(),
            Self::Socket { source } => source.kind(),
            Self::Library { source } => source.kind(),
            Self::Metrics { source, .. } | Self::System { source, .. } => Kind::of_io(source),
            Self::Traces { .. } => Kind::InvalidArgument,
            Self::Store { source } => source.kind(),
        }
    }
}
