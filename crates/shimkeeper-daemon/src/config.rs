// SPDX-License-Identifier: Apache-2.0
//! What the daemon is told: by its file, its environment, its command line, the later over the earlier.
//!
//! The file is TOML. A key that containerd has too is called as it is there and means the same; a key that is
//! unknown is an error with its line, because a setting that is silently ignored is worse than none.

mod duration;
mod load;
mod timeouts;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use load::{ConfigError, Overrides, Sources};
pub use timeouts::{RuntimeTimeouts, Timeouts};

/// Where the configuration is unless somebody says otherwise; it need not be there.
pub const DEFAULT_FILE: &str = "/etc/shimkeeper/config.toml";

/// The highest version of containerd's file format of which something is known.
const NEWEST_VERSION: u32 = 4;

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Tolerated, so that one file can serve both: containerd's number of its file format.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// The directory of what outlives a reboot: records, scratch space of tasks.
    pub root: PathBuf,
    /// The directory of what ends with the machine: bundles.
    pub state: PathBuf,
    /// `oom_score_adj` of the daemon itself; 0 leaves it as it is.
    pub oom_score: i32,
    /// The socket of clients.
    pub grpc: Grpc,
    /// The socket of shims.
    pub ttrpc: Ttrpc,
    /// What is logged, and how.
    pub debug: Debug,
    /// Figures for Prometheus.
    pub metrics: MetricsConfig,
    /// Spans for OpenTelemetry.
    pub tracing: TracingConfig,
    /// What clients can take up.
    pub limits: Limits,
    /// How long shims may take.
    pub timeouts: Timeouts,
    /// Settings of containerd's plugins that have their like here.
    pub plugins: Plugins,
}

/// The socket of clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grpc {
    /// Its path.
    pub address: PathBuf,
    /// Its owner; the daemon's user where it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Its group; the daemon's where it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
}

/// The socket of shims.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ttrpc {
    /// Its path; empty for that of clients with `.ttrpc` at its end.
    pub address: PathBuf,
    /// Its owner; the daemon's user where it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Its group; the daemon's where it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
}

/// What is logged, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Debug {
    /// From which level on.
    pub level: Level,
    /// In words or in objects.
    pub format: Format,
}

/// From which level on something is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Everything.
    Trace,
    /// What a developer looks at; shims that are launched then log in detail too.
    Debug,
    /// What an operator looks at.
    #[default]
    Info,
    /// What may need a hand.
    #[serde(alias = "warning")]
    Warn,
    /// What failed. containerd's two levels above it are taken for this one.
    #[serde(alias = "fatal", alias = "panic")]
    Error,
}

impl Level {
    /// Whether shims are to log in detail too.
    pub(crate) fn is_detailed(self) -> bool {
        matches!(self, Self::Debug | Self::Trace)
    }
}

/// In words or in objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A line of words.
    #[default]
    Text,
    /// A JSON object on a line.
    Json,
}

/// Figures for Prometheus.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsConfig {
    /// Where they are served, as `HOST:PORT`; empty for nowhere, and nothing is measured then.
    pub address: String,
    /// Whether it is measured how long calls of clients take, by method.
    pub grpc_histogram: bool,
}

/// Spans for OpenTelemetry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TracingConfig {
    /// A collector that takes OTLP over gRPC, as `http://HOST:PORT`; empty for where `OTEL_EXPORTER_OTLP_ENDPOINT` says,
    /// and for nowhere if that says nothing. Needs the cargo feature `otel`.
    pub endpoint: String,
}

/// What clients can take up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections of all clients together. More wait until one ends.
    pub connections: usize,
    /// Connections of one user. More are closed at once.
    pub connections_per_user: usize,
    /// Calls at a time on one connection. More are answered with `ResourceExhausted`.
    pub calls_per_connection: usize,
}

/// Settings of containerd's plugins that have their like here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plugins {
    /// How shims are launched.
    #[serde(rename = "io.containerd.shim.v1.manager")]
    pub shims: Shims,
}

/// How shims are launched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shims {
    /// Variables for the environment of shims, as `NAME=VALUE`.
    pub env: Vec<String>,
    /// Where shims that can be told make their sockets; empty for where they always do.
    pub socket_dir: PathBuf,
    /// Runtimes whose `delete` action runs after a clean end, too.
    pub always_reap: Vec<String>,
    /// Whether a runtime's wait for the kernel begins while its shim starts up.
    pub overlap_grace_period: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            version: None,
            root: "/var/lib/shimkeeper".into(),
            state: "/run/shimkeeper/daemon".into(),
            oom_score: 0,
            grpc: Grpc::default(),
            ttrpc: Ttrpc::default(),
            debug: Debug::default(),
            metrics: MetricsConfig::default(),
            tracing: TracingConfig::default(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            plugins: Plugins::default(),
        }
    }
}

impl Default for Shims {
    fn default() -> Self {
        Self {
            env: Vec::new(),
            socket_dir: PathBuf::new(),
            always_reap: Vec::new(),
            overlap_grace_period: true,
        }
    }
}

impl Default for Grpc {
    fn default() -> Self {
        Self { address: "/run/shimkeeper/shimkeeper.sock".into(), uid: None, gid: None }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 4096, connections_per_user: 2048, calls_per_connection: 16_384 }
    }
}

impl Config {
    /// The defaults as a file, with what each of them means.
    pub const DEFAULT_TEXT: &str = include_str!("config/default.toml");

    /// The socket of shims.
    pub fn ttrpc_address(&self) -> PathBuf {
        if self.ttrpc.address.as_os_str().is_empty() {
            let mut address = self.grpc.address.clone().into_os_string();
            address.push(".ttrpc");
            return address.into();
        }
        self.ttrpc.address.clone()
    }

    /// What differs from `other` and only counts from the start on, by key.
    pub(crate) fn fixed_differences(&self, other: &Self) -> Vec<&'static str> {
        let pairs = [
            ("root", self.root != other.root),
            ("state", self.state != other.state),
            ("oom_score", self.oom_score != other.oom_score),
            ("grpc", self.grpc != other.grpc),
            ("ttrpc", self.ttrpc != other.ttrpc),
            ("debug.format", self.debug.format != other.debug.format),
            ("timeouts.runtimes", !self.timeouts.runtimes.keys().eq(other.timeouts.runtimes.keys())),
            ("metrics", self.metrics != other.metrics),
            ("tracing", self.tracing != other.tracing),
            ("plugins", self.plugins != other.plugins),
        ];
        pairs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
    }

    /// `unix://` is how clients may write a path, so it is understood here too.
    fn plain_paths(&mut self) {
        for address in [&mut self.grpc.address, &mut self.ttrpc.address] {
            if let Ok(path) = address.strip_prefix("unix:/") {
                *address = Path::new("/").join(path);
            }
        }
    }
}

#[cfg(test)]
mod tests;
