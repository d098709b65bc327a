// SPDX-License-Identifier: Apache-2.0
//! Records of containers on the busybox root file system, marked as the test's own, for tests that speak the API.

use serde_json::json;
use shimkeeper_proto::containerd::services::containers::v1::{Container, container};
use shimkeeper_proto::google::protobuf::Any;
use shimkeeper_testkit::{TestDirs, TestSpec, deps};

/// How specs are called on the wire.
const NAMES: &str = "types.containerd.io/opencontainers/runtime-spec/1";

/// Where a test's containers belong.
#[derive(Clone, Debug)]
pub(crate) struct Specs {
    mark: String,
    cgroup: String,
}

impl Specs {
    pub(crate) fn of(dirs: &TestDirs) -> Self {
        Self { mark: format!("SHIMKEEPER_TEST={}", dirs.path().display()), cgroup: dirs.cgroup() }
    }

    /// The record of a container that runs this on runc's shim.
    pub(crate) fn container(&self, id: &str, args: &[&str]) -> Container {
        let name = "io.containerd.runc.v2".to_owned();
        Container {
            id: id.to_owned(),
            runtime: Some(container::Runtime { name, options: None }),
            spec: Some(spec("Spec", &self.spec(id).args(args).to_bytes())),
            ..Container::default()
        }
    }

    /// A process to be added to it.
    pub(crate) fn process(&self, args: &[&str]) -> Any {
        spec("Process", &self.spec("exec").process(args))
    }

    fn spec(&self, id: &str) -> TestSpec {
        let mark = json!(self.mark);
        TestSpec::new(deps::rootfs(), id)
            .cgroup(&format!("{}/{id}", self.cgroup))
            .with(|spec| spec["process"]["env"].as_array_mut().unwrap().push(mark))
    }
}

/// A part of a spec as it is on the wire: JSON under a name of its own.
pub(crate) fn spec(kind: &str, json: &[u8]) -> Any {
    Any { type_url: format!("{NAMES}/{kind}"), value: json.to_vec().into() }
}
