// SPDX-License-Identifier: Apache-2.0
//! The daemon: containerd's API on a socket over the library and the store, and the manners of a service.

mod accept;
mod calls;
mod config;
mod controls;
mod dump;
mod error;
mod identity;
mod logging;
mod memory;
mod metrics;
mod notify;
mod observers;
mod run;
mod server;
mod signals;
mod socket;
mod spans;

pub use config::{
    Config, ConfigError, DEFAULT_FILE, Debug, Format, Grpc, Level, Limits, MetricsConfig, Overrides, Plugins,
    RuntimeTimeouts, Shims, Sources, Timeouts, TracingConfig, Ttrpc,
};
pub use error::DaemonError;
pub use memory::Allocator;
pub use run::run;
pub use socket::SocketError;
