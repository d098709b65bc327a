// SPDX-License-Identifier: Apache-2.0
//! What the `start` action does: a list of steps, because most ways to get it wrong are a matter of order.

use serde::{Deserialize, Serialize};

use super::Blob;

/// One step of the `start` action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartStep {
    /// Starts the server, unless one already listens at the address, and waits until it listens.
    Serve,
    /// Makes a socket file at which nobody listens.
    DeadSocket,
    /// Prints the address.
    Answer(Answer),
    /// Prints these bytes.
    Print(Blob),
    /// Prints so many bytes of nothing in particular.
    Flood(u64),
    /// Prints a line on standard error.
    Stderr(String),
    /// Waits this many milliseconds.
    Delay(u64),
    /// Leaves a child that holds the standard streams for so many milliseconds.
    ForkHoldPipe(u64),
    /// Removes the bundle.
    DeleteBundle,
    /// Never ends.
    Hang,
    /// Ends with this exit code; later steps do not happen.
    Exit(i32),
}

/// The answer of the `start` action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Answer {
    /// How it is written.
    pub format: Format,
    /// The version of the task service.
    pub version: u32,
    /// `ttrpc` or `grpc`; the server speaks what is said here, and ttrpc if it is neither.
    pub protocol: String,
    /// The address, if it is not to be `unix://{socket}`. `{socket}` stands for the path of the socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// How the answer of the `start` action is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// `{"version":…,"address":…,"protocol":…}`.
    Json,
    /// The bare address; it implies version 2 and ttrpc.
    Legacy,
    /// A `BootstrapResult` message.
    Proto,
}

/// Which form of standard input the `start` action accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// Whatever comes.
    #[default]
    Either,
    /// `BootstrapParams` only; otherwise it fails as newer shims do.
    Bootstrap,
    /// Options in an `Any`, or nothing; otherwise it fails.
    Legacy,
}

impl Default for Answer {
    fn default() -> Self {
        Self { format: Format::Json, version: 3, protocol: "ttrpc".into(), address: None }
    }
}

impl Answer {
    /// JSON for version 3 over ttrpc.
    pub fn ttrpc_v3() -> Self {
        Self::default()
    }

    /// JSON for version 2 over ttrpc.
    pub fn ttrpc_v2() -> Self {
        Self { version: 2, ..Self::default() }
    }

    /// JSON for version 3 over gRPC.
    pub fn grpc_v3() -> Self {
        Self { protocol: "grpc".into(), ..Self::default() }
    }

    /// The bare address of a version 2 shim.
    pub fn legacy() -> Self {
        Self { format: Format::Legacy, version: 2, ..Self::default() }
    }

    /// A `BootstrapResult` message for version 3 over ttrpc.
    pub fn proto() -> Self {
        Self { format: Format::Proto, ..Self::default() }
    }

    pub(crate) fn is_grpc(&self) -> bool {
        self.protocol.eq_ignore_ascii_case("grpc")
    }
}
