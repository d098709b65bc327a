// SPDX-License-Identifier: Apache-2.0
//! Which Task API a shim speaks. Only the combinations that exist can be written: there is no "grpc v2".

use std::fmt;

use shimkeeper_proto::{TASK_SERVICE_V2, TASK_SERVICE_V3};

/// The Task API of a shim: a protocol and a version of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskApi {
    /// `containerd.task.v2.Task` over ttrpc.
    TtrpcV2,
    /// `containerd.task.v3.Task` over ttrpc.
    TtrpcV3,
    /// `containerd.task.v3.Task` over gRPC.
    GrpcV3,
}

/// A version and protocol that are no Task API.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The version is none of those we speak.
    #[error("unsupported shim version ({version}): 2 and 3 are spoken")]
    Version {
        /// The version asked for.
        version: i64,
    },
    /// The protocol is neither ttrpc nor grpc.
    #[error("unexpected shim protocol {protocol:?}: ttrpc and grpc are spoken")]
    Protocol {
        /// The protocol asked for, cut to a printable length.
        protocol: String,
    },
    /// Version 2 was never served over gRPC.
    #[error("shim version 2 over grpc does not exist")]
    GrpcV2,
}

/// Longest foreign protocol name that an error repeats, in characters.
const MAX_QUOTED_CHARS: usize = 32;

impl TaskApi {
    /// The API with this version and protocol; the protocol's case does not matter.
    ///
    /// # Errors
    /// [`ApiError`] if there is no such API.
    pub fn new(version: i64, protocol: &str) -> Result<Self, ApiError> {
        if !(2..=3).contains(&version) {
            return Err(ApiError::Version { version });
        }
        match (version, protocol) {
            (2, p) if p.eq_ignore_ascii_case("ttrpc") => Ok(Self::TtrpcV2),
            (_, p) if p.eq_ignore_ascii_case("ttrpc") => Ok(Self::TtrpcV3),
            (2, p) if p.eq_ignore_ascii_case("grpc") => Err(ApiError::GrpcV2),
            (_, p) if p.eq_ignore_ascii_case("grpc") => Ok(Self::GrpcV3),
            _ => Err(ApiError::Protocol { protocol: protocol.chars().take(MAX_QUOTED_CHARS).collect() }),
        }
    }

    /// The version of the service: 2 or 3.
    pub fn version(self) -> u32 {
        match self {
            Self::TtrpcV2 => 2,
            Self::TtrpcV3 | Self::GrpcV3 => 3,
        }
    }

    /// The protocol as `bootstrap.json` spells it.
    pub fn protocol(self) -> &'static str {
        match self {
            Self::TtrpcV2 | Self::TtrpcV3 => "ttrpc",
            Self::GrpcV3 => "grpc",
        }
    }

    /// The full name of the service.
    pub fn service(self) -> &'static str {
        match self {
            Self::TtrpcV2 => TASK_SERVICE_V2,
            Self::TtrpcV3 | Self::GrpcV3 => TASK_SERVICE_V3,
        }
    }

    /// What to fall back to when the shim does not know the service: an older shim may still be running where
    /// a newer binary announced version 3.
    pub fn downgraded(self) -> Option<Self> {
        match self {
            Self::TtrpcV3 => Some(Self::TtrpcV2),
            Self::TtrpcV2 | Self::GrpcV3 => None,
        }
    }
}

impl fmt::Display for TaskApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} v{}", self.protocol(), self.version())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_exists_can_be_had() {
        assert_eq!(TaskApi::new(2, "ttrpc"), Ok(TaskApi::TtrpcV2));
        assert_eq!(TaskApi::new(3, "TTRPC"), Ok(TaskApi::TtrpcV3));
        assert_eq!(TaskApi::new(3, "gRPC"), Ok(TaskApi::GrpcV3));
        assert_eq!(TaskApi::new(2, "grpc"), Err(ApiError::GrpcV2));
        assert_eq!(TaskApi::new(4, "ttrpc"), Err(ApiError::Version { version: 4 }));
        assert_eq!(TaskApi::new(-1, "grpc"), Err(ApiError::Version { version: -1 }));
        assert!(matches!(TaskApi::new(3, ""), Err(ApiError::Protocol { .. })));
        assert!(matches!(TaskApi::new(3, "http"), Err(ApiError::Protocol { .. })));
    }

    #[test]
    fn parts_read_back() {
        for api in [TaskApi::TtrpcV2, TaskApi::TtrpcV3, TaskApi::GrpcV3] {
            assert_eq!(TaskApi::new(i64::from(api.version()), api.protocol()), Ok(api));
        }
        assert_eq!(TaskApi::TtrpcV3.downgraded(), Some(TaskApi::TtrpcV2));
        assert_eq!(TaskApi::TtrpcV2.downgraded(), None);
        assert_eq!(TaskApi::GrpcV3.downgraded(), None);
    }
}
