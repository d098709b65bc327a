// SPDX-License-Identifier: Apache-2.0
//! `--bundle` and `--spec`.

use std::path::Path;

use serde_json::json;
use shimkeeper_testkit::deps;

use crate::support::Run;

/// A bundle whose root filesystem is given by a path relative to it.
fn bundle(args: &[&str]) -> tempfile::TempDir {
    let bundle = tempfile::tempdir().unwrap();
    // A directory between, because runtimes want no link in the path of the root filesystem.
    let rootfs = deps::rootfs().canonicalize().unwrap();
    let up: String = bundle.path().canonicalize().unwrap().components().skip(1).map(|_| "../").collect();
    let relative = format!("{up}{}", rootfs.strip_prefix("/").unwrap().display());
    std::fs::write(bundle.path().join("data"), "beside the spec\n").unwrap();
    let config = json!({
        "ociVersion": "1.0.2",
        "process": {"args": args, "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}},
        "root": {"path": relative, "readonly": true},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/etc/hosts", "type": "bind", "source": "data", "options": ["bind", "ro"]},
        ],
        "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}], "cgroupsPath": "/shimkeeper-test-bundle"},
    });
    std::fs::write(bundle.path().join("config.json"), config.to_string()).unwrap();
    bundle
}

fn run_bundle(bundle: &Path, more: &[&str]) -> String {
    Run::bare().flag("--bundle").flag(bundle).output(more).success()
}

#[test]
fn a_bundle_is_run_with_its_relative_paths() {
    let bundle = bundle(&["cat", "/etc/hosts"]);
    assert_eq!(run_bundle(bundle.path(), &[]), "beside the spec\n");
}

#[test]
fn a_command_takes_the_place_of_the_bundles() {
    let bundle = bundle(&["false"]);
    assert_eq!(run_bundle(bundle.path(), &["echo", "instead"]), "instead\n");
}

#[test]
fn a_spec_can_be_given_another_root_filesystem() {
    let bundle = bundle(&["sh", "-c", "echo ran"]);
    let spec = bundle.path().join("config.json");
    let text = std::fs::read_to_string(&spec).unwrap().replace("\"readonly\":true", "\"readonly\":false");
    let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
    config["root"]["path"] = json!("/nonexistent");
    std::fs::write(&spec, config.to_string()).unwrap();
    let run = || Run::bare().flag("--spec").flag(&spec);
    assert_eq!(run().flag("--rootfs").flag(deps::rootfs()).output(&[]).success(), "ran\n");
    let outcome = run().output(&[]);
    assert_eq!(outcome.code, Some(125));
    assert!(outcome.stderr.contains("/nonexistent"), "{}", outcome.stderr);
}
