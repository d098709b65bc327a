// SPDX-License-Identifier: Apache-2.0
//! What a shim's `start` answered: which API it speaks, and where.
//!
//! The original tries protobuf first and believes whatever parses, on stdout and stderr merged. Here the first
//! byte decides which of the three forms it is, and each form is then held to its rules, so garbage is never
//! dialled.

mod file;

use prost::Message as _;
use serde::Deserialize;
use shimkeeper_core::{HasKind, Kind};
use shimkeeper_proto::containerd::runtime::bootstrap::v1::BootstrapResult;

use crate::address::{Address, AddressError};
use crate::api::{ApiError, TaskApi};
use crate::text;

pub use file::BootstrapFileError;

/// How to reach a shim.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BootstrapParams {
    /// The API it speaks.
    pub api: TaskApi,
    /// Where it listens.
    pub address: Address,
}

/// Why an answer is none.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// Not a byte.
    #[error("the shim printed nothing")]
    Empty,
    /// Neither JSON, nor an address, nor a bootstrap message.
    #[error("the shim answered {len} bytes that are no address, beginning with {head}")]
    Garbage {
        /// How many bytes there were.
        len: usize,
        /// The first of them, in hexadecimal.
        head: String,
    },
    /// It begins like JSON, and is none, or lacks what is needed.
    #[error("the shim's JSON answer does not parse")]
    Json {
        /// What the parser says.
        #[source]
        source: serde_json::Error,
    },
    /// A version or protocol that we do not speak.
    #[error("the shim announced an API that is not spoken here")]
    Api {
        /// Which.
        #[source]
        source: ApiError,
    },
    /// The address cannot be dialled.
    #[error("the shim announced no usable address")]
    Address {
        /// Why.
        #[source]
        source: AddressError,
    },
}

/// The JSON form; also what is in `bootstrap.json`. Keys other than these belong to others and are ignored.
#[derive(Debug, Deserialize)]
struct Json {
    #[serde(default)]
    version: i64,
    #[serde(default)]
    address: String,
    #[serde(default)]
    protocol: String,
}

// === impl BootstrapParams ===

impl BootstrapParams {
    /// Reads what a shim's `start` printed on its standard output.
    ///
    /// # Errors
    /// [`BootstrapError`] unless it is a complete answer of a kind we can dial.
    pub fn parse(stdout: &[u8]) -> Result<Self, BootstrapError> {
        let trimmed = stdout.trim_ascii();
        if trimmed.is_empty() {
            return Err(BootstrapError::Empty);
        }
        if trimmed.starts_with(b"{") {
            return Self::parse_json(trimmed);
        }
        if let Some(address) = legacy_address(trimmed) {
            return Self::checked(2, address, "ttrpc");
        }
        // The untouched bytes: trimming would cut into a message that ends, or begins, in a white-space byte.
        let garbage = || BootstrapError::Garbage { len: stdout.len(), head: text::hex_head(stdout) };
        let message = BootstrapResult::decode(stdout).map_err(|_| garbage())?;
        if message == BootstrapResult::default() {
            return Err(garbage());
        }
        Self::checked(i64::from(message.version), &message.address, &message.protocol)
    }

    /// The same shim, asked for the older service, if there is one to fall back to.
    pub fn downgraded(&self) -> Option<Self> {
        Some(Self { api: self.api.downgraded()?, address: self.address.clone() })
    }

    fn parse_json(json: &[u8]) -> Result<Self, BootstrapError> {
        let json: Json = serde_json::from_slice(json).map_err(|source| BootstrapError::Json { source })?;
        Self::checked(json.version, &json.address, &json.protocol)
    }

    fn checked(version: i64, address: &str, protocol: &str) -> Result<Self, BootstrapError> {
        let api = TaskApi::new(version, protocol).map_err(|source| BootstrapError::Api { source })?;
        let address = Address::parse(address, api).map_err(|source| BootstrapError::Address { source })?;
        Ok(Self { api, address })
    }
}

/// The bare address that shims up to version 2 print, if the bytes are one.
///
/// Shims that named an abstract socket always named it like a path, so a lone word is not taken for one.
fn legacy_address(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let plain = text.chars().all(|c| !c.is_control() && !c.is_whitespace());
    (plain && text.contains('/')).then_some(text)
}

// === impl BootstrapError ===

impl HasKind for BootstrapError {
    fn kind(&self) -> Kind {
        match self {
            Self::Api { source: ApiError::Version { .. } | ApiError::GrpcV2 } => Kind::NotImplemented,
            Self::Empty
            | Self::Garbage { .. }
            | Self::Json { .. }
            | Self::Api { source: ApiError::Protocol { .. } }
            | Self::Address { .. } => Kind::InvalidArgument,
        }
    }
}

#[cfg(test)]
mod tests;
