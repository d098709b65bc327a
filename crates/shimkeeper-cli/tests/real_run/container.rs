// SPDX-License-Identifier: Apache-2.0
//! What the flags make of the container, seen from the inside.

use std::path::Path;

use crate::support::Run;

fn sh(flags: &[&str], script: &str) -> String {
    Run::new().flags(flags.iter().copied()).output(&["sh", "-c", script]).success()
}

#[test]
fn variables() {
    let run = Run::new().own_env("PASSED_ON", "from outside").flags([
        "-e",
        "A=1",
        "-e",
        "PASSED_ON",
        "-e",
        "UNSET",
    ]);
    let said = run.output(&["sh", "-c", "echo $A/$PASSED_ON/${UNSET-unset}"]).success();
    assert_eq!(said, "1/from outside/unset\n");
}

#[test]
fn directory_user_and_name() {
    assert_eq!(sh(&["-w", "/tmp"], "pwd"), "/tmp\n");
    assert_eq!(sh(&["-u", "nobody"], "id -u; id -g"), "65534\n65534\n");
    assert_eq!(sh(&["-u", "12:34"], "id -u; id -g"), "12\n34\n");
    assert_eq!(sh(&["--hostname", "box"], "hostname"), "box\n");
}

#[test]
fn the_root_filesystem_can_be_read_only() {
    assert_eq!(sh(&["--read-only"], "touch /tmp/x 2>/dev/null || echo refused"), "refused\n");
    let tmpfs = ["--read-only", "--mount", "type=tmpfs,target=/tmp,tmpfs-size=1m"];
    assert_eq!(sh(&tmpfs, "touch /tmp/x && df -k /tmp | tail -1 | awk '{print $2}'"), "1024\n");
}

#[test]
fn directories_of_the_host() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("in"), "from the host\n").unwrap();
    let source = dir.path().to_str().unwrap();
    let volume = format!("{source}:/tmp:ro");
    assert_eq!(
        sh(&["-v", &volume], "cat /tmp/in; touch /tmp/x 2>/dev/null || echo refused"),
        "from the host\nrefused\n"
    );
    let mount = format!("type=bind,source={source},target=/tmp");
    sh(&["--mount", &mount], "echo from the container > /tmp/out");
    assert_eq!(std::fs::read_to_string(dir.path().join("out")).unwrap(), "from the container\n");
}

#[test]
fn limits() {
    let limit = |controller: &str, old: &str, new: &str| {
        let old_path = format!("/sys/fs/cgroup/{controller}/{old}");
        if Path::new(&old_path).exists() { old_path } else { format!("/sys/fs/cgroup/{new}") }
    };
    let memory = limit("memory", "memory.limit_in_bytes", "memory.max");
    assert_eq!(sh(&["-m", "32m"], &format!("cat {memory}")), "33554432\n");
    let pids = if Path::new("/sys/fs/cgroup/pids").exists() {
        "/sys/fs/cgroup/pids/pids.max"
    } else {
        "/sys/fs/cgroup/pids.max"
    };
    assert_eq!(sh(&["--pids-limit", "17"], &format!("cat {pids}")), "17\n");
}

#[test]
fn capabilities() {
    let bound = "grep CapBnd /proc/self/status | tr -dc '0-9a-f' | tail -c 16";
    assert_eq!(sh(&[], bound), "00000000a80425fb");
    assert_eq!(sh(&["--cap-drop", "ALL"], bound), "0000000000000000");
    assert_eq!(sh(&["--cap-drop", "ALL", "--cap-add", "CHOWN,KILL"], bound), "0000000000000021");
}

#[test]
fn networks() {
    let devices = "ls /sys/class/net";
    assert_eq!(sh(&["--network", "none"], devices), "lo\n");
    let hosts = std::fs::read_dir("/sys/class/net").unwrap().count();
    let seen = sh(&["--network", "host"], "cat /proc/net/dev | tail -n +3 | wc -l");
    assert_eq!(seen.trim().parse(), Ok(hosts));
}
