// SPDX-License-Identifier: Apache-2.0
//! Where a manager works and on which shims: the same for the process that is killed and for the one that looks after.

use std::path::PathBuf;

use shimkeeper::oci::ContainerSpec;
use shimkeeper::{Config, CreateTask, ExecTask, TaskKey};
use shimkeeper_testkit::deps::{self, Generation};
use shimkeeper_testkit::{SCRIPT_ENV, SOCKET_DIR_ENV, TestDirs, TestSpec, fake_shim_binary};

/// The namespace of all tasks here.
pub(crate) const NAMESPACE: &str = "crash";

/// How the process to be killed learns of its site: state, root, sockets, cgroup, shims.
const ENV: &str = "SHIMKEEPER_TEST_SITE";

/// Which shims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shims {
    Fake,
    Real(Generation),
}

/// What a process is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Command {
    Sleep,
    Exit(u32),
}

/// The directories, and what is run in them.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    state: PathBuf,
    root: PathBuf,
    sockets: PathBuf,
    cgroup: String,
    pub(crate) shims: Shims,
    /// Whether the `delete` action runs after every end.
    pub(crate) always_reap: bool,
}

pub(crate) fn key(id: &str) -> TaskKey {
    TaskKey::parse(NAMESPACE, id).unwrap()
}

impl Site {
    pub(crate) fn of(dirs: &TestDirs, shims: Shims) -> Self {
        Self {
            state: dirs.state(),
            root: dirs.root(),
            sockets: dirs.sockets(),
            cgroup: dirs.cgroup(),
            shims,
            always_reap: false,
        }
    }

    /// The site that whoever started this process works on.
    pub(crate) fn inherited() -> Option<Self> {
        let text = std::env::var(ENV).ok()?;
        let parts: Vec<&str> = text.split('\n').collect();
        let [state, root, sockets, cgroup, shims, reap] = parts.as_slice() else { panic!("{text:?}") };
        let shims = match *shims {
            "fake" => Shims::Fake,
            "1.6" => Shims::Real(Generation::V1_6),
            "1.7" => Shims::Real(Generation::V1_7),
            "2.1" => Shims::Real(Generation::V2_1),
            other => panic!("{other:?}"),
        };
        Some(Self {
            state: state.into(),
            root: root.into(),
            sockets: sockets.into(),
            cgroup: (*cgroup).to_owned(),
            shims,
            always_reap: *reap == "true",
        })
    }

    /// What [`Site::inherited`] reads.
    pub(crate) fn to_env(&self) -> (&'static str, String) {
        let shims = match self.shims {
            Shims::Fake => "fake",
            Shims::Real(Generation::V1_6) => "1.6",
            Shims::Real(Generation::V1_7) => "1.7",
            Shims::Real(Generation::V2_1) => "2.1",
        };
        let paths = [&self.state, &self.root, &self.sockets].map(|path| path.to_str().unwrap());
        let reap = self.always_reap.to_string();
        (ENV, [paths.as_slice(), &[self.cgroup.as_str(), shims, reap.as_str()]].concat().join("\n"))
    }

    pub(crate) fn config(&self) -> Config {
        let config = Config::new(&self.state, &self.root).always_reap(self.always_reap);
        match self.shims {
            Shims::Fake => {
                let bin = fake_shim_binary().parent().unwrap().to_owned();
                let config = config.search_path(vec![bin]).env(SOCKET_DIR_ENV, &self.sockets);
                match std::env::var_os(SCRIPT_ENV) {
                    Some(script) => config.env(SCRIPT_ENV, script),
                    None => config,
                }
            }
            Shims::Real(generation) => {
                config.search_path(vec![deps::shim(generation).parent().unwrap().to_owned()])
            }
        }
    }

    pub(crate) fn request(&self, id: &str, command: Command) -> CreateTask {
        let key = key(id);
        match self.shims {
            Shims::Fake => {
                let spec = TestSpec::fake(command.of_fake()).to_bytes();
                CreateTask::new(key, spec).runtime("io.containerd.fake.v2")
            }
            Shims::Real(_) => {
                let spec = ContainerSpec::new(deps::rootfs(), command.of_shell())
                    .read_only(true)
                    // By this the test finds its containers' processes.
                    .env(format!("SHIMKEEPER_TEST={}", self.state.display()))
                    .cgroups_path(format!("{}/{NAMESPACE}.{id}", self.cgroup));
                CreateTask::new(key, spec.to_json().unwrap())
            }
        }
    }

    /// Leaves something in the scratch directory of a task, as some shims do.
    pub(crate) fn scratch(&self, id: &str) {
        let tasks = self.root.join("io.containerd.runtime.v2.task");
        std::fs::write(tasks.join(NAMESPACE).join(id).join("scratch"), "").unwrap();
    }

    pub(crate) fn exec_request(&self, id: &str, command: Command) -> ExecTask {
        let process = match self.shims {
            Shims::Fake => TestSpec::fake(["sleep"]).process(command.of_fake()),
            Shims::Real(_) => {
                let process =
                    serde_json::json!({ "args": command.of_shell(), "cwd": "/", "env": ["PATH=/bin"] });
                process.to_string().into()
            }
        };
        ExecTask::new(id.parse().unwrap(), process)
    }
}

impl Command {
    fn of_fake(self) -> Vec<String> {
        match self {
            Self::Sleep => vec!["sleep".into()],
            Self::Exit(status) => vec!["exit".into(), status.to_string()],
        }
    }

    fn of_shell(self) -> Vec<String> {
        match self {
            Self::Sleep => vec!["sleep".into(), "3600".into()],
            Self::Exit(status) => vec!["/bin/sh".into(), "-c".into(), format!("exit {status}")],
        }
    }
}
