// SPDX-License-Identifier: Apache-2.0
//! What a manager is opened with. Every path comes from here; there is no global state and no fixed directory.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::Deadlines;

/// Where a manager keeps its things and how it treats shims.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) state: PathBuf,
    pub(crate) root: PathBuf,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) search_path: Option<Vec<PathBuf>>,
    pub(crate) address: Option<String>,
    pub(crate) publish_binary: Option<PathBuf>,
    pub(crate) debug: bool,
    pub(crate) always_reap: bool,
    pub(crate) deadlines: Deadlines,
}

impl Config {
    /// A manager that keeps what lives as long as the machine runs (bundles, sockets) in `state`, and what outlives
    /// it (scratch space of tasks) in `root`.
    ///
    /// Both must be absolute and different. They are made if they are missing; one manager at a time can use them.
    /// `state` should be short (a socket in it must fit into 107 bytes) and on a tmpfs.
    pub fn new(state: impl Into<PathBuf>, root: impl Into<PathBuf>) -> Self {
        Self {
            state: state.into(),
            root: root.into(),
            env: Vec::new(),
            search_path: None,
            address: None,
            publish_binary: None,
            debug: false,
            always_reap: false,
            deadlines: Deadlines::default(),
        }
    }

    /// Adds a variable to the environment of launched shims; the last one of a name wins.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// The directories in which shim binaries are looked for, instead of those of `PATH`.
    pub fn search_path(mut self, directories: Vec<PathBuf>) -> Self {
        self.search_path = Some(directories);
        self
    }

    /// What shims are told is the manager's own address (`-address`). It goes into the hash that names a shim's
    /// socket, so it must be unique to these directories; by default it is a path below `state`.
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.address = Some(address.into());
        self
    }

    /// The binary that shims may run to publish an event (`-publish-binary`). By default this program.
    pub fn publish_binary(mut self, path: impl Into<PathBuf>) -> Self {
        self.publish_binary = Some(path.into());
        self
    }

    /// Whether shims log at debug level.
    pub fn debug(mut self, debug: bool) -> Self {
        self.debug = debug;
        self
    }

    /// Whether the shim binary's `delete` action runs even after a shim that deleted its task and then exited as
    /// told. Nothing is left to delete then, so by default it is left out; it costs about a sixth of a lifecycle.
    pub fn always_reap(mut self, always: bool) -> Self {
        self.always_reap = always;
        self
    }

    /// How long shims may take for what.
    pub fn deadlines(mut self, deadlines: Deadlines) -> Self {
        self.deadlines = deadlines;
        self
    }
}
