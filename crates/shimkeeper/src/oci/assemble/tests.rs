// SPDX-License-Identifier: Apache-2.0
//! What is written for which description, read back as JSON.

use serde_json::json;

use super::*;

const HOST: Host = Host { unified_cgroups: false, capabilities: Vec::new(), open_files: 4096 };

fn container(dir: &tempfile::TempDir) -> ContainerSpec {
    std::fs::create_dir_all(dir.path().join("etc")).unwrap();
    std::fs::write(dir.path().join("etc/passwd"), "app:x:7:8::/:/bin/sh\n").unwrap();
    ContainerSpec::new(dir.path(), ["/bin/true"])
}

fn spec(change: impl FnOnce(ContainerSpec) -> ContainerSpec) -> Value {
    try_spec(change).unwrap()
}

fn try_spec(change: impl FnOnce(ContainerSpec) -> ContainerSpec) -> Result<Value, BuildError> {
    let dir = tempfile::tempdir().unwrap();
    assemble(&change(container(&dir)), &HOST).map(|spec| serde_json::to_value(spec).unwrap())
}

fn names(spec: &Value, pointer: &str, field: &str) -> Vec<String> {
    let list = spec.pointer(pointer).unwrap().as_array().unwrap();
    list.iter().map(|entry| entry[field].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_default_is_a_closed_room() {
    let spec = spec(|container| container);
    assert_eq!(spec["process"]["args"], json!(["/bin/true"]));
    assert_eq!(spec["process"]["cwd"], "/");
    assert_eq!(spec["process"]["env"], json!([format!("PATH={}", defaults::PATH)]));
    assert_eq!(spec["process"]["user"], json!({"uid": 0, "gid": 0, "additionalGids": [0]}));
    assert_eq!(spec["process"]["noNewPrivileges"], true);
    assert_eq!(spec["process"]["capabilities"]["effective"].as_array().unwrap().len(), 14);
    assert_eq!(spec["process"]["capabilities"].get("inheritable"), None);
    let open_files = json!([{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 4096}]);
    assert_eq!(spec["process"]["rlimits"], open_files, "not more than this process may have");
    assert_eq!(spec["root"]["readonly"], false);
    assert_eq!(spec.get("hostname"), None);
    assert_eq!(names(&spec, "/linux/namespaces", "type"), ["pid", "ipc", "uts", "mount", "network"]);
    let devices = spec.pointer("/linux/resources/devices").unwrap().as_array().unwrap();
    assert_eq!(devices[0], json!({"allow": false, "access": "rwm"}), "first everything is denied");
    assert!(devices[1..].iter().all(|rule| rule["allow"] == true));
    for absent in ["memory", "cpu", "pids"] {
        assert_eq!(spec["linux"]["resources"].get(absent), None, "{absent}");
    }
}

#[test]
fn the_unified_hierarchy_is_hidden_by_a_namespace() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host { unified_cgroups: true, ..HOST };
    let spec = serde_json::to_value(assemble(&container(&dir), &host).unwrap()).unwrap();
    assert!(names(&spec, "/linux/namespaces", "type").contains(&"cgroup".to_owned()));
}

#[test]
fn the_last_value_of_a_variable_wins_in_the_first_ones_place() {
    let env = |terminal: bool| {
        spec(|container| container.terminal(terminal).env("A=1").env("PATH=/x").env("A=2=3").env("B="))
            ["process"]["env"]
            .clone()
    };
    assert_eq!(env(false), json!(["PATH=/x", "A=2=3", "B="]));
    assert_eq!(env(true), json!(["PATH=/x", "TERM=xterm", "A=2=3", "B="]));
}

#[test]
fn others_than_root_have_capabilities_only_as_a_bound() {
    let spec = spec(|container| container.user("app"));
    assert_eq!(spec["process"]["user"], json!({"uid": 7, "gid": 8, "additionalGids": [8]}));
    assert_eq!(spec["process"]["capabilities"]["effective"], json!([]));
    assert_eq!(spec["process"]["capabilities"]["permitted"], json!([]));
    assert_eq!(spec["process"]["capabilities"]["bounding"].as_array().unwrap().len(), 14);
}

#[test]
fn the_size_of_a_terminal_needs_a_terminal() {
    let size =
        |terminal| spec(|c| c.terminal(terminal).console_size(24, 80))["process"]["consoleSize"].clone();
    assert_eq!(size(true), json!({"height": 24, "width": 80}));
    assert_eq!(size(false), Value::Null);
}

#[test]
fn limits_are_in_the_units_of_the_kernel() {
    let spec = spec(|container| container.memory_bytes(64 << 20).millicpus(1500).pids(32));
    let resources = &spec["linux"]["resources"];
    assert_eq!(resources["memory"], json!({"limit": 64 << 20}), "no swap limit: not every kernel has it");
    assert_eq!(resources["cpu"], json!({"quota": 150_000, "period": 100_000}));
    assert_eq!(resources["pids"], json!({"limit": 32}));
}

#[test]
fn deeper_mounts_come_later_and_an_asked_one_replaces_the_default() {
    let mount = |target: &str| Mount {
        kind: "tmpfs".into(),
        source: "tmpfs".into(),
        target: target.into(),
        options: vec!["size=1m".into()],
    };
    let spec =
        spec(|container| container.mount(mount("/a/b/c/d")).mount(mount("/dev/shm/")).mount(mount("/a")));
    let targets = names(&spec, "/mounts", "destination");
    let place = |target: &str| targets.iter().position(|known| known == target).unwrap();
    assert!(place("/a") < place("/a/b/c/d") && place("/dev") < place("/dev/shm/"));
    assert!(!targets.contains(&"/dev/shm".to_owned()));
    assert_eq!(targets.len(), 9);
}

#[test]
fn the_hosts_network_brings_the_hosts_names() {
    let spec = spec(|container| container.network(Network::Host));
    assert!(!names(&spec, "/linux/namespaces", "type").contains(&"network".to_owned()));
    let targets = names(&spec, "/mounts", "destination");
    for file in ["/etc/hosts", "/etc/resolv.conf"] {
        assert_eq!(targets.iter().any(|target| target == file), Path::new(file).is_file(), "{file}");
    }
}

#[test]
fn contradictions_are_refused() {
    use BuildError as E;
    let bind = |source: &str, target: &str| Mount {
        kind: "bind".into(),
        source: source.into(),
        target: target.into(),
        options: Vec::new(),
    };
    assert!(matches!(try_spec(|c| ContainerSpec { args: vec![], ..c }), Err(E::NoCommand)));
    assert!(matches!(try_spec(|c| ContainerSpec { args: vec![String::new()], ..c }), Err(E::NoCommand)));
    assert!(matches!(try_spec(|c| ContainerSpec { rootfs: "r".into(), ..c }), Err(E::NotAbsolute { .. })));
    assert!(matches!(try_spec(|c| ContainerSpec { rootfs: "/no/r".into(), ..c }), Err(E::Rootfs { .. })));
    assert!(matches!(try_spec(|c| c.cwd("tmp")), Err(E::NotAbsolute { what: "working directory", .. })));
    assert!(matches!(try_spec(|c| c.env("A")), Err(E::Environment { .. })));
    assert!(matches!(try_spec(|c| c.env("=A")), Err(E::Environment { .. })));
    assert!(matches!(try_spec(|c| c.env("A=\0")), Err(E::ZeroByte { .. })));
    assert!(matches!(try_spec(|c| c.user("nobody")), Err(E::User { .. })));
    assert!(matches!(try_spec(|c| c.add_capability("ROOT")), Err(E::Capability { .. })));
    assert!(matches!(try_spec(|c| c.hostname("x".repeat(65))), Err(E::Hostname { .. })));
    assert!(matches!(try_spec(|c| c.mount(bind("/tmp", "x"))), Err(E::NotAbsolute { .. })));
    assert!(matches!(try_spec(|c| c.mount(bind("tmp", "/x"))), Err(E::NotAbsolute { .. })));
    assert!(matches!(try_spec(|c| c.memory_bytes(0)), Err(E::Limit { .. })));
    assert!(matches!(try_spec(|c| c.memory_bytes(u64::MAX)), Err(E::Limit { .. })));
    assert!(matches!(try_spec(|c| c.millicpus(9)), Err(E::Limit { .. })));
    assert!(matches!(try_spec(|c| c.pids(0)), Err(E::Limit { .. })));
    assert!(matches!(try_spec(|c| c.open_files(2, 1)), Err(E::Limit { .. })));
}

#[test]
fn what_is_written_passes_the_check_and_is_the_same_every_time() {
    let dir = tempfile::tempdir().unwrap();
    let container = container(&dir).terminal(true).annotation("b", "1").annotation("a", "2");
    let json = container.to_json().unwrap();
    for _ in 0..20 {
        assert_eq!(container.to_json().unwrap(), json);
    }
    let checked = crate::oci::check(&json).unwrap();
    assert!(checked.terminal);
    assert_eq!(checked.root, dir.path());
}
