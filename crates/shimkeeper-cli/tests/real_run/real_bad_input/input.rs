// SPDX-License-Identifier: Apache-2.0
//! What is asked for, in a form that both the command and the library can be asked with.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use shimkeeper::oci::ContainerSpec;
use shimkeeper::{Config, CreateTask, Manager, RuncOptions, TaskKey};
use shimkeeper_testkit::{TestDirs, deps};

use super::told::{Told, assert_two_lines};
use crate::support::Run;

/// The directories of one case, and a shim that tells that it was started.
pub(crate) struct Place {
    pub(crate) dirs: TestDirs,
    base: PathBuf,
    marker: PathBuf,
}

/// What is asked for.
pub(crate) struct Input {
    pub(crate) id: String,
    pub(crate) namespace: String,
    pub(crate) rootfs: PathBuf,
    pub(crate) command: String,
    pub(crate) runtime: Option<String>,
    pub(crate) runc: Option<String>,
    pub(crate) state: PathBuf,
    pub(crate) root: PathBuf,
    /// Whether the command is given the directories; the library always is.
    pub(crate) own_dirs: bool,
    pub(crate) json: Option<Vec<u8>>,
    pub(crate) marking_shim: PathBuf,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dirs = TestDirs::new();
        let (base, marker) = (dirs.path().join("base"), dirs.path().join("was-started"));
        std::fs::create_dir(&base).unwrap();
        let shim = dirs.path().join("marking-shim");
        std::fs::write(&shim, format!("#!/bin/sh\n: > {}\n", marker.display())).unwrap();
        std::fs::set_permissions(shim, PermissionsExt::from_mode(0o755)).unwrap();
        Self { dirs, base, marker }
    }

    /// That there is no process, mount, bundle, socket or private directory.
    pub(crate) fn assert_nothing_left(&self, name: &str) {
        assert!(!self.marker.exists(), "{name}: a process was started");
        let left: Vec<_> = std::fs::read_dir(&self.base).unwrap().collect();
        assert!(left.is_empty(), "{name}: {left:?}");
        let left = self.dirs.leftovers();
        assert!(left.is_empty(), "{name}: {left}");
    }
}

impl Input {
    /// With nothing wrong about it.
    pub(crate) fn good(place: &Place) -> Self {
        Self {
            id: "bad-input".to_owned(),
            namespace: "default".to_owned(),
            rootfs: deps::rootfs(),
            command: "true".to_owned(),
            runtime: None,
            runc: None,
            state: place.dirs.state(),
            root: place.dirs.root(),
            own_dirs: false,
            json: None,
            marking_shim: place.dirs.path().join("marking-shim"),
        }
    }

    /// With this spec, on a shim that must not be started for it.
    pub(crate) fn spec(&mut self, bytes: &[u8]) {
        self.json = Some(bytes.to_vec());
        self.runtime = Some(self.marking_shim.to_str().unwrap().to_owned());
    }

    /// Too deep for a socket.
    pub(crate) fn in_a_deep_directory(&mut self) {
        self.own_dirs = true;
        self.state.push("x".repeat(100));
    }

    pub(crate) fn in_one_directory(&mut self) {
        self.own_dirs = true;
        self.root.clone_from(&self.state);
    }

    pub(crate) fn in_a_file(&mut self) {
        self.own_dirs = true;
        self.state.push("file");
        std::fs::write(&self.state, "").unwrap();
    }

    /// Runs it; answers the exit code and the failure, if it is one.
    pub(crate) fn through_the_command(&self, place: &Place) -> (Option<i32>, Option<Told>) {
        let result = place.dirs.path().join("result.json");
        let id = format!("--name={}", self.id);
        let namespace = format!("--namespace={}", self.namespace);
        let mut run = Run::bare().flag(id).flag(namespace).flag("--output-file").flag(&result);
        run = match &self.json {
            None => run.flag("--rootfs").flag(&self.rootfs),
            Some(spec) => {
                let file = place.dirs.path().join("spec.json");
                std::fs::write(&file, spec).unwrap();
                run.flag("--spec").flag(file)
            }
        };
        if let Some(runtime) = &self.runtime {
            run = run.flag("--runtime").flag(runtime);
        }
        if let Some(runc) = &self.runc {
            run = run.flag("--runtime-binary").flag(runc);
        }
        if self.own_dirs {
            run = run.flag("--state").flag(&self.state).flag("--root").flag(&self.root);
        }
        if self.json.is_none() {
            run = run.flag(&self.command);
        }
        let outcome = run.with_own_places(&place.base, &place.dirs.sockets()).output(&[]);
        let report = serde_json::from_slice(&std::fs::read(result).unwrap()).unwrap();
        let told = Told::in_report(&report);
        if told.is_some() {
            assert_two_lines(&format!("{:.80}", self.id), &outcome.stderr);
        }
        (outcome.code, told)
    }

    /// Makes and deletes it; answers the failure, if it is one.
    pub(crate) async fn through_the_library(&self) -> Option<Told> {
        let key = match TaskKey::parse(&self.namespace, &self.id) {
            Ok(key) => key,
            // An id is refused before there is anything to have a hint.
            Err(error) => return Some(Told::of(&error, Some("see the grammar of ids"))),
        };
        let manager = match Manager::open(Config::new(&self.state, &self.root)).await {
            Ok(manager) => manager,
            Err(error) => return Some(Told::of(&error, error.hint())),
        };
        let told = self.create_and_delete(&manager, key).await;
        manager.detach().await;
        told
    }

    async fn create_and_delete(&self, manager: &Manager, key: TaskKey) -> Option<Told> {
        let spec = match &self.json {
            Some(spec) => Ok(spec.clone()),
            None => spec_of(&self.rootfs, &self.command),
        };
        let spec = match spec {
            Ok(spec) => spec,
            Err(told) => return Some(told),
        };
        let mut task = CreateTask::new(key, spec);
        if let Some(runtime) = &self.runtime {
            task = task.runtime(runtime);
        }
        if let Some(runc) = &self.runc {
            task = task.runc(RuncOptions::binary(runc));
        }
        let run = async {
            let task = manager.create(task).await?;
            if let Err(error) = task.start().await {
                task.delete().await?;
                return Err(error);
            }
            task.wait().await?;
            task.delete().await
        };
        run.await.err().map(|error: shimkeeper::Error| Told::of(&error, error.hint()))
    }
}

fn spec_of(rootfs: &Path, command: &str) -> Result<Vec<u8>, Told> {
    let spec = ContainerSpec::new(rootfs, [command]).cgroups_path("/shimkeeper-test-bad-input").to_json();
    spec.map_err(|error| Told::of(&error, Some(error.hint())))
}
