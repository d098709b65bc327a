// SPDX-License-Identifier: Apache-2.0
//! The whole way from flags to a spec.

use clap::Parser;
use serde_json::{Value, json};

use super::*;
use crate::args::{Cli, Command as Subcommand};

fn rootfs() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("bin")).unwrap();
    std::fs::create_dir_all(dir.path().join("etc")).unwrap();
    std::fs::write(dir.path().join("etc/passwd"), "app:x:7:8::/:/bin/sh\n").unwrap();
    dir
}

fn prepared(args: &[&str]) -> Result<Prepared, Failure> {
    let words = ["shimkeeper", "run"].iter().chain(args);
    let Subcommand::Run(run) = Cli::try_parse_from(words).unwrap().command else { unreachable!() };
    let key = TaskKey { namespace: "default".parse().unwrap(), id: "box".parse().unwrap() };
    prepare(&run, &key, Some(Size { rows: 24, columns: 80 }))
}

fn spec(args: &[&str]) -> Value {
    serde_json::from_slice(&prepared(args).unwrap().json).unwrap()
}

#[test]
fn every_flag_arrives() {
    let dir = rootfs();
    let root = dir.path().to_str().unwrap();
    let spec = spec(&[
        "--rootfs",
        root,
        "-e",
        "A=1",
        "-w",
        "/tmp",
        "-u",
        "app",
        "--hostname",
        "web",
        "--read-only",
        "-m",
        "64m",
        "--cpus",
        "0.5",
        "--pids-limit",
        "9",
        "--cap-drop",
        "ALL",
        "--cap-add",
        "CHOWN,KILL",
        "-v",
        "/:/host:ro",
        "--network",
        "host",
        "--allow-new-privs",
        "sh",
        "-c",
        "true",
    ]);
    let process = &spec["process"];
    assert_eq!(process["args"], json!(["sh", "-c", "true"]));
    assert!(process["env"].as_array().unwrap().contains(&json!("A=1")));
    assert_eq!((&process["cwd"], &process["user"]["uid"]), (&json!("/tmp"), &json!(7)));
    assert_eq!(process["capabilities"]["bounding"], json!(["CAP_CHOWN", "CAP_KILL"]));
    assert_eq!(process["noNewPrivileges"], false);
    assert_eq!((&spec["hostname"], &spec["root"]["readonly"]), (&json!("web"), &json!(true)));
    let resources = &spec["linux"]["resources"];
    assert_eq!(resources["memory"]["limit"], 64 << 20);
    assert_eq!(resources["cpu"]["quota"], 50_000);
    assert_eq!(resources["pids"]["limit"], 9);
    let mounts = spec["mounts"].as_array().unwrap();
    let host = mounts.iter().find(|mount| mount["destination"] == "/host").unwrap();
    assert_eq!(host["options"], json!(["rbind", "rprivate", "ro"]));
    assert_eq!(spec["linux"]["cgroupsPath"], "/shimkeeper-default-box");
}

#[test]
fn the_defaults_are_named_after_the_container() {
    let dir = rootfs();
    let root = dir.path().to_str().unwrap();
    let plain = spec(&["--rootfs", root, "sh"]);
    assert_eq!((&plain["hostname"], &plain["process"]["terminal"]), (&json!("box"), &json!(false)));
    let terminal = spec(&["--rootfs", root, "-t", "sh"]);
    assert_eq!(terminal["process"]["consoleSize"], json!({"height": 24, "width": 80}));
}

#[test]
fn mistakes_say_what_to_do() {
    let dir = rootfs();
    let root = dir.path().to_str().unwrap();
    let cases = [
        (&["--rootfs", "/nonexistent", "sh"][..], "--rootfs"),
        (&["--rootfs", root], "command"),
        (&["--rootfs", root, "-u", "ghost", "sh"], "passwd"),
        (&["--rootfs", root, "-v", "/nonexistent:/x", "sh"], "--volume"),
        (&["--rootfs", root, "--cap-add", "ROOT", "sh"], "NET_ADMIN"),
        (&["--bundle", root], "--bundle"),
        (&["--spec", "/dev/null"], "config.json"),
    ];
    for (args, word) in cases {
        let failure = prepared(args).unwrap_err();
        assert_eq!(failure.exit_code, 125, "{args:?}");
        assert!(failure.hint.as_ref().unwrap().contains(word), "{args:?}: {failure:?}");
    }
}

#[test]
fn a_bundle_is_run_as_it_is() {
    let dir = rootfs();
    let bundle = tempfile::tempdir().unwrap();
    let config =
        json!({"process": {"args": ["sh"], "cwd": "/", "terminal": true}, "root": {"path": dir.path()}});
    std::fs::write(bundle.path().join("config.json"), config.to_string()).unwrap();
    let prepared = prepared(&["--bundle", bundle.path().to_str().unwrap()]).unwrap();
    assert_eq!(prepared.json, config.to_string().into_bytes());
    assert!(prepared.terminal);
}
