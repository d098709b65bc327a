// SPDX-License-Identifier: Apache-2.0
//! The comparison works: every scenario, on both daemons, in its quick form. What the figures are is not asked, and that
//! there are all of them is.

use std::process::Command;

use serde_json::Value;
use shimkeeper_testkit::TestDirs;
use shimkeeper_testkit::deps::{self, Generation};
use shimkeeper_testkit::shimkeeper_binary;

#[test]
fn real_daemons_are_compared_in_every_scenario() {
    let dirs = TestDirs::new();
    let file = dirs.path().join("figures.json");
    let output = Command::new(env!("CARGO_BIN_EXE_shimkeeper-bench"))
        .arg("--quick")
        .arg("--against")
        .arg(deps::bin_dir(Generation::V2_1).join("containerd"))
        .arg("--shimkeeper")
        .arg(shimkeeper_binary())
        .arg("--json")
        .arg(&file)
        .output()
        .unwrap();
    let (said, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{error}");

    let pairings: Vec<Value> = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(pairings.len(), 1, "one containerd was named");
    assert!(pairings[0]["theirs"].as_str().unwrap().starts_with("containerd 2."), "{}", pairings[0]);
    let figures = pairings[0]["figures"].as_array().unwrap();
    for scenario in ["startup", "lifecycle", "exec", "rpc", "steady", "restart", "crash", "events"] {
        assert!(figures.iter().any(|figure| figure["scenario"] == scenario), "{scenario} in\n{said}");
    }
    for figure in figures {
        for side in ["ours", "theirs"] {
            assert!(figure[side]["n"].as_u64().unwrap() > 0, "{side} of {figure}");
        }
        // A goal is compared with something, except where theirs is nothing.
        assert_eq!(figure["goal"].is_null(), figure["met"].is_null(), "{figure}");
    }
    let of = |name: &str| figures.iter().find(|figure| figure["figure"] == name).unwrap();
    // These do not depend on the machine, nor on how the binary was built.
    for name in ["killed with 8 in flight: shims left", "killed with 8 in flight: bundles left"] {
        assert_eq!(of(name)["met"], true, "{}\n{said}", of(name));
    }
}
