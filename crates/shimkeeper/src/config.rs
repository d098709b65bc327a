// SPDX-License-Identifier: Apache-2.0
//! What a manager is opened with. Every path comes from here; there is no global state and no fixed directory.

use std::ffi::OsString;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;

use std::time::Duration;

use shimkeeper_events::JournalLimits;

use crate::Deadlines;
use crate::observer::Observer;

/// Where a manager keeps its things and how it treats shims.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "switches that have nothing to do with each other")]
pub struct Config {
    pub(crate) state: PathBuf,
    pub(crate) root: PathBuf,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) search_path: Option<Vec<PathBuf>>,
    pub(crate) address: Option<String>,
    pub(crate) events_socket: Option<(PathBuf, Arc<UnixListener>)>,
    pub(crate) socket_dir: Option<PathBuf>,
    pub(crate) publish_binary: Option<PathBuf>,
    pub(crate) debug: bool,
    pub(crate) always_reap: bool,
    pub(crate) always_reaped: Vec<String>,
    pub(crate) bypass_kill: bool,
    pub(crate) overlap_grace_period: bool,
    pub(crate) deadlines: Deadlines,
    pub(crate) journal: Option<JournalLimits>,
    pub(crate) runtime_deadlines: Vec<(String, Deadlines)>,
    pub(crate) expect_listeners: Duration,
    pub(crate) observer: Option<Arc<dyn Observer>>,
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
            events_socket: None,
            socket_dir: None,
            publish_binary: None,
            debug: false,
            always_reap: false,
            always_reaped: Vec::new(),
            bypass_kill: true,
            overlap_grace_period: true,
            deadlines: Deadlines::default(),
            journal: Some(JournalLimits::default()),
            runtime_deadlines: Vec::new(),
            expect_listeners: Duration::from_secs(30),
            observer: None,
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

    /// Where shims send their events, instead of a socket that the manager makes below `state`: `listener`, which is the
    /// caller's to make and to remove, at `path`. Peers must be of this process's user and group all the same.
    pub fn events_socket(mut self, path: impl Into<PathBuf>, listener: UnixListener) -> Self {
        self.events_socket = Some((path.into(), Arc::new(listener)));
        self
    }

    /// Where shims that can be told (those of containerd 2.3 and later) make their sockets.
    pub fn socket_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.socket_dir = Some(directory.into());
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

    /// The same ([`Config::always_reap`]) for the shims of one runtime, a name or the path of a binary as in
    /// [`Config::deadlines_for`]: one whose `delete` action does more than the protocol says.
    pub fn always_reap_for(mut self, runtime: impl Into<String>) -> Self {
        self.always_reaped.push(runtime.into());
        self
    }

    /// How many task events are kept below `root`, for [`Manager::events_since`](crate::Manager::events_since).
    pub fn journal(mut self, limits: JournalLimits) -> Self {
        self.journal = Some(limits);
        self
    }

    /// Keeps no events: who is away misses them. For a manager whose events nobody will ask for later.
    pub fn without_journal(mut self) -> Self {
        self.journal = None;
        self
    }

    /// Whether SIGKILL finds its way past a shim that does not answer: once the time for `Kill` is over, or at once if
    /// the shim is known to be stuck or out of reach, the process, or everything in the container, is killed directly.
    /// Only what is proven to be the container's is. By default it does; no other signal ever does.
    ///
    /// It is also how what a dead shim has left is ended before the shim's `delete` action runs, so that its exits are told
    /// at once. Without, that is left to the action, and the exits are told after it.
    pub fn bypass_kill(mut self, bypass: bool) -> Self {
        self.bypass_kill = bypass;
        self
    }

    /// Whether the wait for the kernel that an OCI runtime has when it moves a process into its control groups, 5 to 30
    /// ms, begins while the shim is still starting up. By default it does. Nothing is moved for it and nothing else
    /// waits; where the groups of this process cannot be used it is left out.
    pub fn overlap_grace_period(mut self, overlap: bool) -> Self {
        self.overlap_grace_period = overlap;
        self
    }

    /// For how long after the start those who listened to an earlier manager may take to be back. Who subscribes within
    /// it ([`Manager::events`](crate::Manager::events)) is first given what was published since of tasks that were found
    /// at the start: the exits that happened while no manager was there, above all. By default 30 seconds.
    pub fn expect_listeners(mut self, within: Duration) -> Self {
        self.expect_listeners = within;
        self
    }

    /// Tells somebody what happens between the manager and its shims.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// How long shims may take for what.
    pub fn deadlines(mut self, deadlines: Deadlines) -> Self {
        self.deadlines = deadlines;
        self
    }

    /// The same for the shims of one runtime, instead: one that starts a virtual machine may take longer. The runtime
    /// is what [`CreateTask::runtime`](crate::CreateTask::runtime) takes, a name or the path of a binary; names that
    /// lead to the same binary are the same runtime. The first one given counts.
    pub fn deadlines_for(mut self, runtime: impl Into<String>, deadlines: Deadlines) -> Self {
        self.runtime_deadlines.push((runtime.into(), deadlines));
        self
    }
}
