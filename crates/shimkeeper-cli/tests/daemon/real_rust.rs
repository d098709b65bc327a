// SPDX-License-Identifier: Apache-2.0
//! containerd's own client for Rust, the crate `containerd-client`, unchanged: a container's whole life. What it asks
//! for, and expects, is in `clients/containerd-client`.

use std::process::{Command, Stdio};

use shimkeeper_testkit::deps::{self, Generation};

use crate::real::{Host, outcome};
use crate::specs::Specs;

#[test]
fn a_whole_life_through_containerds_rust_client() {
    let host = Host::start(Generation::V2_1);
    let dirs = &host.daemon.dirs;
    let specs = Specs::of(dirs);
    let file = |name: &str, json: &[u8]| {
        let path = dirs.path().join(name);
        std::fs::write(&path, json).unwrap();
        path
    };
    let container = specs.container("life", &["/bin/sh", "-c", "echo up; exec sleep 3600"]);
    let spec = file("spec.json", &container.spec.unwrap().value);
    let process = file("process.json", &specs.process(&["/bin/sh", "-c", "exit 3"]).value);
    let mut client = Command::new(deps::rust_client());
    client.arg(host.daemon.address()).args([spec, process]).arg(dirs.path().join("output"));
    client.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let lived = outcome(client.spawn().unwrap());
    let expected = format!("lived on {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!((lived.code, lived.out), (Some(0), expected), "{}\n{}", lived.err, host.daemon.log());
    host.close();
}
