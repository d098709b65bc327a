// SPDX-License-Identifier: Apache-2.0
//! From a file and what overrides it to a checked [`Config`], and back.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use shimkeeper_core::{HasKind, Kind};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{Config, DEFAULT_FILE, Level, NEWEST_VERSION};
use crate::socket::MAX_PATH;
use crate::spans;

/// How long the configuration may take to be read again.
const READING: Duration = Duration::from_secs(10);

/// Where the configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file; none for the default one.
    pub file: Option<PathBuf>,
    /// What counts more.
    pub overrides: Overrides,
}

/// What the command line or the environment says; it counts more than the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// In the place of `root`.
    pub root: Option<PathBuf>,
    /// In the place of `state`.
    pub state: Option<PathBuf>,
    /// In the place of `grpc.address`.
    pub address: Option<PathBuf>,
    /// In the place of `debug.level`.
    pub log_level: Option<Level>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is no TOML, has a key nobody knows, or a value of another type.
    #[error("{}:{line}: {message}", file.display())]
    Text {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// A value cannot work.
    #[error("{key}: {problem}")]
    Value {
        /// Whose.
        key: &'static str,
        /// Why not.
        problem: String,
    },
    /// It cannot be written as TOML.
    #[error("the configuration cannot be written as TOML")]
    Dump {
        /// Why not.
        source: toml::ser::Error,
    },
}

impl HasKind for ConfigError {
    fn kind(&self) -> Kind {
        match self {
            Self::Read { source, .. } => Kind::of_io(source),
            Self::Text { .. } | Self::Value { .. } | Self::Dump { .. } => Kind::InvalidArgument,
        }
    }
}

/// Keys of containerd's file for what is not here at all.
const THEIRS: [&str; 13] = [
    "cgroup",
    "disabled_plugins",
    "imports",
    "max_recv_message_size",
    "max_send_message_size",
    "plugin_dir",
    "proxy_plugins",
    "required_plugins",
    "stream_processors",
    "tcp_address",
    "tcp_tls_cert",
    "tcp_tls_key",
    "temp",
];

impl Sources {
    /// Reads it.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load(&self) -> Result<Config, ConfigError> {
        Config::load(self.file.as_deref(), &self.overrides)
    }

    /// The same while the daemon serves. On a thread of its own, and not waited for without end: the file may be on a disk
    /// that hangs, or a FIFO.
    ///
    /// # Cancel safety
    /// Yes: what is read is thrown away.
    pub(crate) async fn load_beside(self) -> Result<Config, ConfigError> {
        let file = self.file.clone().unwrap_or_else(|| DEFAULT_FILE.into());
        let failed = |source| ConfigError::Read { file, source };
        let (tell, read) = oneshot::channel();
        let reading = std::thread::Builder::new().name("configuration".into());
        match reading.spawn(move || tell.send(self.load()).is_ok()) {
            Ok(_) => match timeout(READING, read).await {
                Ok(Ok(loaded)) => loaded,
                Ok(Err(broken_off)) => Err(failed(io::Error::other(broken_off))),
                Err(_) => Err(failed(io::ErrorKind::TimedOut.into())),
            },
            Err(no_thread) => Err(failed(no_thread)),
        }
    }
}

impl Config {
    /// Reads `file`, or the default one where it exists, and puts `overrides` over it.
    ///
    /// # Errors
    /// [`ConfigError`], with the line where it is the file's fault.
    pub fn load(file: Option<&Path>, overrides: &Overrides) -> Result<Self, ConfigError> {
        let path = file.unwrap_or(Path::new(DEFAULT_FILE));
        let mut config = match std::fs::read_to_string(path) {
            Ok(text) => Self::from_text(path, &text)?,
            Err(error) if file.is_none() && error.kind() == io::ErrorKind::NotFound => Self::default(),
            Err(source) => return Err(ConfigError::Read { file: path.to_owned(), source }),
        };
        let Overrides { root, state, address, log_level } = overrides.clone();
        config.root = root.unwrap_or(config.root);
        config.state = state.unwrap_or(config.state);
        config.grpc.address = address.unwrap_or(config.grpc.address);
        config.debug.level = log_level.unwrap_or(config.debug.level);
        config.plain_paths();
        config.check()?;
        Ok(config)
    }

    /// As a file that says all of it.
    ///
    /// # Errors
    /// [`ConfigError::Dump`] if a value cannot be written in TOML, such as a path that is no UTF-8.
    pub fn to_text(&self) -> Result<String, ConfigError> {
        toml::to_string_pretty(self).map_err(|source| ConfigError::Dump { source })
    }

    pub(super) fn from_text(file: &Path, text: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start.min(text.len()));
            ConfigError::Text {
                file: file.to_owned(),
                line: text[..text.floor_char_boundary(at)].split('\n').count(),
                message: in_our_words(error.message()),
            }
        })
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let wrong = |key, problem: &str| Err(ConfigError::Value { key, problem: problem.to_owned() });
        if self.version.is_some_and(|version| version > NEWEST_VERSION) {
            return wrong("version", "there is no such version of containerd's format; leave the key out");
        }
        let (root, state) = (&self.root, &self.state);
        let ttrpc = self.ttrpc_address();
        let paths = [
            ("root", root),
            ("state", state),
            ("grpc.address", &self.grpc.address),
            ("ttrpc.address", &ttrpc),
        ];
        for (key, path) in paths {
            if !path.is_absolute() {
                return wrong(key, &format!("{} is no absolute path", path.display()));
            }
            if key.ends_with("address") && path.as_os_str().len() > MAX_PATH {
                return wrong(
                    key,
                    &format!("{} is longer than the {MAX_PATH} bytes of a socket's path", path.display()),
                );
            }
        }
        if root == state {
            return wrong("state", "it must be another directory than root");
        }
        if self.grpc.address == ttrpc {
            return wrong("ttrpc.address", "it must be another one than grpc.address");
        }
        if !(-1000..=1000).contains(&self.oom_score) {
            return wrong("oom_score", "it must be from -1000 to 1000");
        }
        let address = &self.metrics.address;
        if !address.is_empty() && !is_address(address) {
            return wrong("metrics.address", &format!("{address:?} is not HOST:PORT, as 127.0.0.1:1338 is"));
        }
        if let Some(problem) = spans::objection(&self.tracing.endpoint) {
            return wrong("tracing.endpoint", &problem);
        }
        let limits = &self.limits;
        if [limits.connections, limits.connections_per_user, limits.calls_per_connection].contains(&0) {
            return wrong("limits", "nobody could connect or call with a limit of 0");
        }
        if let Some(key) = self.timeouts.zeroes().next() {
            return wrong("timeouts", &format!("{key} must be more than no time"));
        }
        let is_pair = |entry: &String| entry.find('=').is_some_and(|at| at > 0) && !entry.contains('\0');
        if let Some(entry) = self.plugins.shims.env.iter().find(|entry| !is_pair(entry)) {
            return wrong(
                "plugins.\"io.containerd.shim.v1.manager\".env",
                &format!("{entry:?} is not NAME=VALUE"),
            );
        }
        Ok(())
    }
}

/// Whether this can be listened on, as far as its form tells: a name or an IP address, a colon, a port.
fn is_address(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

/// The parser speaks of fields; a file has keys. What is containerd's is said to be so.
fn in_our_words(message: &str) -> String {
    let text = message.replacen("unknown field", "unknown key", 1);
    let unknown = text.strip_prefix("unknown key `").and_then(|rest| rest.split('`').next());
    let is_theirs = unknown.is_some_and(|key| THEIRS.contains(&key) || key.starts_with("io.containerd."));
    match unknown {
        Some(key) if is_theirs => {
            format!("key `{key}` is containerd's, for what is not part of shimkeeper: remove it")
        }
        _ => text.lines().collect::<Vec<_>>().join(" "),
    }
}
