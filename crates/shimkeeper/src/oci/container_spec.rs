// SPDX-License-Identifier: Apache-2.0
//! Describes a container in the words people use, and writes the OCI spec for it.
//!
//! The builder holds what was asked for; every decision and every default is made in `assemble.rs`, when the spec
//! is written, because users and groups are looked up in the root filesystem.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use shimkeeper_core::{HasKind, Kind, Mount};

use crate::oci::{CapabilityError, RootfsError, UserError, assemble};

/// Which network a container sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// One of its own, with nothing in it but a loopback device.
    #[default]
    None,
    /// The host's.
    Host,
}

/// A container's description, from which the content of a `config.json` is written.
///
/// ```no_run
/// # fn main() -> Result<(), shimkeeper::oci::BuildError> {
/// use shimkeeper::oci::ContainerSpec;
///
/// let json = ContainerSpec::new("/srv/rootfs", ["/bin/sh", "-c", "echo $GREETING"])
///     .env("GREETING=hello")
///     .user("nobody")
///     .memory_bytes(64 << 20)
///     .to_json()?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct ContainerSpec {
    pub(crate) rootfs: PathBuf,
    pub(crate) read_only: bool,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) cwd: PathBuf,
    pub(crate) user: Option<String>,
    pub(crate) terminal: bool,
    pub(crate) console_size: Option<(u16, u16)>,
    pub(crate) hostname: Option<String>,
    pub(crate) network: Network,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) millicpus: Option<u32>,
    pub(crate) pids: Option<u32>,
    pub(crate) add_capabilities: Vec<String>,
    pub(crate) drop_capabilities: Vec<String>,
    pub(crate) no_new_privileges: bool,
    pub(crate) open_files: Option<(u64, u64)>,
    pub(crate) cgroups_path: Option<String>,
    pub(crate) annotations: BTreeMap<String, String>,
}

/// Why a description makes no spec.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// There is no command to start.
    #[error("the container has no command")]
    NoCommand,
    /// A path must begin at the root, and does not.
    #[error("the {what} {} is not an absolute path", path.display())]
    NotAbsolute {
        /// What the path is for.
        what: &'static str,
        /// The path.
        path: PathBuf,
    },
    /// JSON cannot hold this path.
    #[error("the {what} {} is not valid UTF-8", path.display())]
    NotUtf8 {
        /// What the path is for.
        what: &'static str,
        /// The path.
        path: PathBuf,
    },
    /// The kernel ends every text at a zero byte.
    #[error("the {what} contains a zero byte")]
    ZeroByte {
        /// What the text is for.
        what: &'static str,
    },
    /// Not of the form `KEY=VALUE`.
    #[error("{text:?} is not an environment variable of the form KEY=VALUE")]
    Environment {
        /// The text.
        text: String,
    },
    /// The kernel takes no such name.
    #[error("{name:?} is not a host name of 1 to 64 bytes")]
    Hostname {
        /// The name.
        name: String,
    },
    /// A limit that the kernel would refuse.
    #[error("the {what} limit is out of range: {allowed}")]
    Limit {
        /// Which limit.
        what: &'static str,
        /// What is possible.
        allowed: &'static str,
    },
    /// A wrong list of capabilities.
    #[error("the capabilities cannot be determined")]
    Capability {
        /// What is wrong.
        #[source]
        source: CapabilityError,
    },
    /// The user cannot be resolved.
    #[error("the user {user:?} cannot be determined")]
    User {
        /// The user asked for.
        user: String,
        /// What is wrong.
        #[source]
        source: UserError,
    },
    /// The root filesystem cannot be read.
    #[error("the root filesystem cannot be used")]
    Rootfs {
        /// What is wrong.
        #[source]
        source: RootfsError,
    },
}

impl HasKind for BuildError {
    fn kind(&self) -> Kind {
        match self {
            Self::Capability { source } => source.kind(),
            Self::User { source, .. } => source.kind(),
            Self::Rootfs { source } => source.kind(),
            _ => Kind::InvalidArgument,
        }
    }
}

impl BuildError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoCommand => "name the command to run in the container",
            Self::NotAbsolute { .. } => "write the path beginning with a slash",
            Self::NotUtf8 { .. } => "rename it: an OCI spec is JSON and can only name UTF-8 paths",
            Self::ZeroByte { .. } => "remove the zero byte",
            Self::Environment { .. } => "write KEY=VALUE; the key must not be empty",
            Self::Hostname { .. } => "choose a shorter host name",
            Self::Limit { .. } => "choose a limit in that range",
            Self::Capability { .. } => {
                "name capabilities as capabilities(7) does, for example NET_ADMIN, or ALL"
            }
            Self::User { .. } => {
                "use a number, or a name that the container's /etc/passwd or /etc/group lists"
            }
            Self::Rootfs { .. } => "check that the root filesystem is unpacked there and may be read",
        }
    }
}

impl ContainerSpec {
    /// A container that runs `args` in the root filesystem at `rootfs`, an absolute path on the host.
    pub fn new<A: Into<String>>(rootfs: impl Into<PathBuf>, args: impl IntoIterator<Item = A>) -> Self {
        Self {
            rootfs: rootfs.into(),
            read_only: false,
            args: args.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            cwd: PathBuf::from("/"),
            user: None,
            terminal: false,
            console_size: None,
            hostname: None,
            network: Network::None,
            mounts: Vec::new(),
            memory_bytes: None,
            millicpus: None,
            pids: None,
            add_capabilities: Vec::new(),
            drop_capabilities: Vec::new(),
            no_new_privileges: true,
            open_files: None,
            cgroups_path: None,
            annotations: BTreeMap::new(),
        }
    }

    /// Whether the root filesystem may only be read.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Adds an environment variable, written `KEY=VALUE`; a later one of the same key wins.
    ///
    /// `PATH` has a default, and `TERM` has one when there is a terminal.
    pub fn env(mut self, variable: impl Into<String>) -> Self {
        self.env.push(variable.into());
        self
    }

    /// The directory the process starts in, absolute in the container.
    pub fn cwd(mut self, cwd: impl AsRef<Path>) -> Self {
        cwd.as_ref().clone_into(&mut self.cwd);
        self
    }

    /// Whom the process runs as: `USER` or `USER:GROUP`, as names or numbers of the container.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Whether the process has a terminal.
    pub fn terminal(mut self, terminal: bool) -> Self {
        self.terminal = terminal;
        self
    }

    /// The size of its terminal at the start, in characters.
    pub fn console_size(mut self, rows: u16, columns: u16) -> Self {
        self.console_size = Some((rows, columns));
        self
    }

    /// The host name that the container sees.
    pub fn hostname(mut self, hostname: impl Into<String>) -> Self {
        self.hostname = Some(hostname.into());
        self
    }

    /// The network that the container sees.
    pub fn network(mut self, network: Network) -> Self {
        self.network = network;
        self
    }

    /// Adds a mount. One on the target of a default mount replaces it; a deeper target is mounted later.
    pub fn mount(mut self, mount: Mount) -> Self {
        self.mounts.push(mount);
        self
    }

    /// The most memory that may be used, in bytes.
    pub fn memory_bytes(mut self, limit: u64) -> Self {
        self.memory_bytes = Some(limit);
        self
    }

    /// The most processor time that may be used, in thousandths of one processor.
    pub fn millicpus(mut self, limit: u32) -> Self {
        self.millicpus = Some(limit);
        self
    }

    /// The most processes and threads there may be.
    pub fn pids(mut self, limit: u32) -> Self {
        self.pids = Some(limit);
        self
    }

    /// Adds a capability by its name, or `ALL`.
    pub fn add_capability(mut self, name: impl Into<String>) -> Self {
        self.add_capabilities.push(name.into());
        self
    }

    /// Takes a capability away by its name, or `ALL`.
    pub fn drop_capability(mut self, name: impl Into<String>) -> Self {
        self.drop_capabilities.push(name.into());
        self
    }

    /// Whether set-user-id programs are kept from gaining privileges; they are, unless this says otherwise.
    pub fn no_new_privileges(mut self, no_new_privileges: bool) -> Self {
        self.no_new_privileges = no_new_privileges;
        self
    }

    /// How many files may be open: the soft limit and the hard one. Unless this says otherwise 1024 and 524288,
    /// or as many as this process itself may have.
    pub fn open_files(mut self, soft: u64, hard: u64) -> Self {
        self.open_files = Some((soft, hard));
        self
    }

    /// The control group, in the form that the runtime's cgroup driver expects: a path, or
    /// `slice:prefix:name` for systemd.
    pub fn cgroups_path(mut self, path: impl Into<String>) -> Self {
        self.cgroups_path = Some(path.into());
        self
    }

    /// Adds an annotation.
    pub fn annotation(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.annotations.insert(key.into(), value.into());
        self
    }

    /// Writes the content of a `config.json`. The same description on the same host gives the same bytes.
    ///
    /// Reads the root filesystem, to look up users, and the host's kind of control groups.
    ///
    /// # Errors
    /// When the description contradicts itself, the root filesystem or the host.
    pub fn to_json(&self) -> Result<Vec<u8>, BuildError> {
        assemble::to_json(self)
    }
}
