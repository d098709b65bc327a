// SPDX-License-Identifier: Apache-2.0
//! A good spec, and every way to spoil it.

use serde_json::{Value, json};

use super::*;

fn good() -> Value {
    json!({
        "ociVersion": "1.0.2",
        "process": {"args": ["/bin/sh"], "cwd": "/"},
        "root": {"path": "rootfs"},
    })
}

fn spoilt(pointer: &str, value: Value) -> Result<Checked, SpecError> {
    let mut spec = good();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = if parent.is_empty() { &mut spec } else { spec.pointer_mut(parent).unwrap() };
    parent[name] = value;
    check(&serde_json::to_vec(&spec).unwrap())
}

#[test]
fn the_least_spec_passes() {
    let checked = check(&serde_json::to_vec(&good()).unwrap()).unwrap();
    let expected = Checked {
        terminal: false,
        root: "rootfs".into(),
        container_root_host_gid: None,
        wants_idmapped_mounts: false,
        group: None,
    };
    assert_eq!(checked, expected);
}

#[test]
fn unknown_fields_are_none_of_our_business() {
    assert!(spoilt("/futureField", json!({"deep": [1, {"x": null}]})).is_ok());
    assert!(spoilt("/process/futureField", json!(1)).is_ok());
    assert!(spoilt("/ociVersion", json!("99.0.0")).is_ok());
    assert!(spoilt("/linux", json!(null)).is_ok());
}

#[test]
fn what_is_no_spec_at_all_is_told_apart() {
    assert!(matches!(check(b""), Err(SpecError::NotJson { .. })));
    assert!(matches!(check(b"{\"process\":"), Err(SpecError::NotJson { .. })));
    assert!(matches!(check(b"{} {}"), Err(SpecError::NotJson { .. })));
    assert!(matches!(check(b"[]"), Err(SpecError::NotAnObject)));
    assert!(matches!(check(b"{}"), Err(SpecError::Missing { field: "process" })));
}

#[test]
fn the_process_must_be_startable() {
    use SpecError as E;
    let args = "/process/args";
    assert!(matches!(spoilt("/process", json!(null)), Err(E::Missing { field: "process" })));
    assert!(matches!(spoilt("/process", json!([])), Err(E::WrongType { field: "process", .. })));
    assert!(matches!(spoilt(args, json!(null)), Err(E::Missing { field: "process.args" })));
    assert!(matches!(spoilt(args, json!([])), Err(E::Empty { field: "process.args" })));
    assert!(matches!(spoilt(args, json!("sh")), Err(E::WrongType { field: "process.args", .. })));
    assert!(matches!(spoilt(args, json!(["sh", 1])), Err(E::WrongType { field: "process.args", .. })));
    assert!(matches!(spoilt("/process/cwd", json!("tmp")), Err(E::NotAbsolute { .. })));
    assert!(matches!(spoilt("/process/cwd", json!(null)), Err(E::Missing { field: "process.cwd" })));
    assert!(matches!(spoilt("/process/terminal", json!("yes")), Err(E::WrongType { .. })));
    assert!(spoilt("/process/terminal", json!(true)).unwrap().terminal);
}

#[test]
fn the_root_must_exist_when_it_is_absolute() {
    use SpecError as E;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert_eq!(spoilt("/root/path", json!(dir.path())).unwrap().root, dir.path());
    assert!(matches!(spoilt("/root/path", json!(file)), Err(E::RootNotADirectory { .. })));
    assert!(matches!(spoilt("/root/path", json!("/nonexistent")), Err(E::RootUnreadable { .. })));
    assert!(matches!(spoilt("/root/path", json!("")), Err(E::Empty { field: "root.path" })));
    assert!(matches!(spoilt("/root/path", json!(7)), Err(E::WrongType { field: "root.path", .. })));
    assert!(matches!(spoilt("/root", json!({})), Err(E::Missing { field: "root.path" })));
}

#[test]
fn a_mapped_root_group_is_found() {
    let gid = |mappings: Value| spoilt("/linux", json!({ "gidMappings": mappings }));
    let mapping =
        |container: u64, host: u64| json!({"containerID": container, "hostID": host, "size": 65536});
    assert_eq!(gid(json!([mapping(0, 100_000)])).unwrap().container_root_host_gid, Some(100_000));
    let two = json!([mapping(1, 5), mapping(0, 7)]);
    assert_eq!(gid(two).unwrap().container_root_host_gid, Some(7));
    assert_eq!(gid(json!([mapping(0, 0)])).unwrap().container_root_host_gid, None, "the same group");
    assert_eq!(gid(json!([mapping(1, 5)])).unwrap().container_root_host_gid, None, "0 is not mapped");
    assert_eq!(gid(json!([{"hostID": 9, "size": 1}])).unwrap().container_root_host_gid, Some(9));
    for bad in [json!("x"), json!([1]), json!([mapping(0, 1 << 32)]), json!([{"hostID": -1}])] {
        assert!(matches!(gid(bad), Err(SpecError::WrongType { field: "linux.gidMappings", .. })));
    }
}

#[test]
fn idmapped_mounts_are_noticed() {
    let wants = |mount: Value| spoilt("/mounts", json!([{}, mount])).unwrap().wants_idmapped_mounts;
    assert!(wants(json!({"options": ["ro", "idmap"]})));
    assert!(wants(json!({"options": ["ridmap"]})));
    assert!(wants(json!({"uidMappings": [{"size": 1}]})));
    assert!(wants(json!({"gidMappings": [{"size": 1}]})));
    assert!(!wants(json!({"uidMappings": [], "options": ["rbind"]})));
}

#[test]
fn every_failure_says_what_to_do() {
    let failures =
        [check(b"").unwrap_err(), check(b"{}").unwrap_err(), spoilt("/root", json!(0)).unwrap_err()];
    for failure in failures {
        assert!(failure.hint().len() > 20 && !failure.hint().ends_with('.'), "{failure}");
        assert_eq!(failure.kind(), Kind::InvalidArgument);
    }
}
