// SPDX-License-Identifier: Apache-2.0
//! A host is switched over: containerd is stopped, its records are imported, and a manager on the same state
//! directory has its tasks, which never noticed. Then back again.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use shimkeeper::{Config, Manager, TaskKey, Verdict};
use shimkeeper_core::Namespace;
use shimkeeper_store::{Store, parse_containerd};
use shimkeeper_testkit::deps::Generation;
use shimkeeper_testkit::{Containerd, TestDirs};

const PATIENCE: Duration = Duration::from_secs(30);
const META: &str = "io.containerd.metadata.v1.bolt/meta.db";

fn shimkeeper(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_shimkeeper")).args(args).output().unwrap()
}

fn json(output: &Output) -> Value {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Every record that `ctr` can show, as an export must have it.
fn compare(export: &Value, shown: &Value, bundle: Option<&Path>) {
    let id = shown["ID"].as_str().unwrap();
    let containers = export["containers"].as_array().unwrap();
    let container = containers.iter().find(|one| one["id"] == id).unwrap();
    for (theirs, ours) in
        [("Image", "image"), ("Snapshotter", "snapshotter"), ("SnapshotKey", "snapshot_key")]
    {
        let ours = container.get(ours).and_then(Value::as_str).unwrap_or_default();
        assert_eq!(shown[theirs].as_str().unwrap(), ours, "{id}: {theirs}");
    }
    assert_eq!(shown["Labels"].as_object().cloned().unwrap_or_default(), labels(container), "{id}");
    assert_eq!(shown["Runtime"]["Name"], container["runtime"]["name"], "{id}");
    let options = &shown["Runtime"]["Options"];
    assert_eq!(options["type_url"], container["runtime"]["options"]["type_url"], "{id}: {options}");
    for (theirs, ours) in [("CreatedAt", "created_at"), ("UpdatedAt", "updated_at")] {
        let moment = |text: &Value| shimkeeper_core::time::from_rfc3339(text.as_str().unwrap()).unwrap();
        assert_eq!(moment(&shown[theirs]), moment(&container[ours]), "{id}: {theirs}");
    }
    let spec = container["spec"]["text"].as_str().unwrap();
    assert_eq!(shown["Spec"], serde_json::from_str::<Value>(spec).unwrap(), "{id}");
    if let Some(bundle) = bundle {
        let bytes = std::fs::read(bundle.join("config.json")).unwrap();
        assert_eq!(spec.as_bytes(), bytes, "{id}: to the byte what was written for the shim");
    }
}

fn labels(record: &Value) -> serde_json::Map<String, Value> {
    record.get("labels").and_then(Value::as_object).cloned().unwrap_or_default()
}

/// A real file with any byte changed never brings the reader down.
fn damage(meta: &[u8]) {
    assert!(parse_containerd(meta).is_ok());
    for at in (0..meta.len()).step_by(211) {
        let mut damaged = meta.to_vec();
        damaged[at] ^= 0xa5;
        let _ = parse_containerd(&damaged);
    }
    for end in (0..meta.len()).step_by(4093) {
        let _ = parse_containerd(&meta[..end]);
    }
}

/// containerd has its container again, as if nothing had been.
fn and_back(generation: Generation, dirs: &TestDirs, namespace: &str, pid: &str) {
    let containerd = Containerd::start(generation, dirs, namespace);
    let tasks = containerd.told(&["tasks", "ls"]);
    let line = tasks.lines().find(|line| line.starts_with("stays")).unwrap();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["stays", pid, "RUNNING"], "{generation:?}");
    let exec = ["tasks", "exec", "--exec-id", "e1", "stays", "/bin/echo", "still here"];
    assert_eq!(containerd.told(&exec), "still here\n", "{generation:?}");
    containerd.told(&["tasks", "rm", "--force", "stays"]);
    containerd.told(&["containers", "rm", "stays"]);
    drop(containerd);
}

async fn switch_over(generation: Generation) {
    let dirs = TestDirs::new();
    let namespace = format!("import-{generation:?}").replace('_', "-");
    let containerd = Containerd::start(generation, &dirs, &namespace);
    containerd.run_detached(&dirs, "stays", "exec sleep 100");
    // So many labels that their bucket has branches.
    let many = (0..60).map(|number| format!("label.of/{number}={}", "x".repeat(100))).collect::<Vec<_>>();
    let many = many.iter().flat_map(|label| ["--label", label]);
    let bare: Vec<_> = ["containers", "create"].into_iter().chain(many).collect();
    for id in ["bare0", "bare1"] {
        containerd.told(&[&bare[..], &["--rootfs", "/nowhere", id, "/bin/true"]].concat());
    }
    containerd.told(&["namespaces", "label", &namespace, "owner=me"]);
    containerd.told(&["leases", "create", "--id", "a-lease", "purpose=test"]);
    let shown = |id: &str| serde_json::from_str(&containerd.told(&["containers", "info", id])).unwrap();
    let shown: Vec<Value> = ["stays", "bare0", "bare1"].into_iter().map(shown).collect();

    let root = dirs.root().to_str().unwrap().to_owned();
    let import = ["import", "--from-containerd", &root, "-o", "json"];
    let early = shimkeeper(&import);
    let told = String::from_utf8_lossy(&early.stderr).into_owned();
    assert_eq!(early.status.code(), Some(125));
    assert!(told.contains("containerd runs on it") && told.contains("hint: stop it"), "{told}");
    drop(containerd);

    let imported = json(&shimkeeper(&import));
    assert_eq!((&imported["schema"], &imported["replaced"]), (&"shimkeeper.store/1".into(), &0.into()));
    assert!(imported["added"].as_u64().unwrap() >= 5, "{imported}");
    assert_eq!(imported["left_out"], Value::Array(Vec::new()));
    let again = json(&shimkeeper(&import));
    assert_eq!((&again["added"], &again["unchanged"]), (&0.into(), &imported["added"]));

    let export = json(&shimkeeper(&["store", "export", "--root", &root]));
    let bundle = dirs.state().join("io.containerd.runtime.v2.task").join(&namespace).join("stays");
    compare(&export, &shown[0], Some(&bundle));
    shown[1..].iter().for_each(|shown| compare(&export, shown, None));
    assert_eq!(labels(&export["namespaces"][0])["owner"], "me", "{generation:?}");
    let leases = export["leases"].as_array().unwrap();
    let lease = leases.iter().find(|lease| lease["id"] == "a-lease").unwrap();
    assert_eq!(labels(lease)["purpose"], "test");

    let config = Config::new(dirs.state(), dirs.root());
    let manager = Manager::open(config).await.unwrap();
    let adoption = tokio::time::timeout(PATIENCE, manager.adopted()).await.unwrap();
    let key = TaskKey::parse(&namespace, "stays").unwrap();
    assert_eq!(adoption.verdict(&key), Some(&Verdict::Adopted), "{generation:?}");
    let task = manager.get(&key).unwrap();
    assert!(Path::new(&format!("/proc/{}", task.pid().unwrap())).exists(), "{generation:?}");
    let store = Store::open(&Store::dir_below(&dirs.root()), &dirs.state()).unwrap();
    let ns: Namespace = namespace.parse().unwrap();
    assert!(store.containers(&ns).contains("stays"));
    drop(store);

    let pid = task.pid().unwrap().to_string();
    manager.detach().await;

    and_back(generation, &dirs, &namespace, &pid);
    damage(&std::fs::read(dirs.root().join(META)).unwrap());
    dirs.sweep().unwrap();
}

#[tokio::test]
async fn real_containerd_1_6_is_replaced() {
    switch_over(Generation::V1_6).await;
}

#[tokio::test]
async fn real_containerd_2_1_is_replaced() {
    switch_over(Generation::V2_1).await;
}
