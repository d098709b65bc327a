// SPDX-License-Identifier: Apache-2.0
//! `shimkeeper store`, on a store that nothing else needs.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use shimkeeper_core::Any;
use shimkeeper_store::{Container, Runtime, Store};

fn run(args: &[&str], root: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shimkeeper"));
    command.arg("store").args(args).arg("--root").arg(root).output().unwrap()
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn place() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("shimkeeper-store-").tempdir().unwrap()
}

/// A store with one container, left open.
async fn store(root: &Path) -> Store {
    let store = Store::open_or_new(&Store::dir_below(root)).unwrap();
    let runtime = Runtime { name: "io.containerd.runc.v2".to_owned(), options: None };
    let spec = Some(Any::new("spec", "{}"));
    let record = Container { id: "web".to_owned(), runtime, spec, ..Container::default() };
    store.containers(&"default".parse().unwrap()).create(record).await.unwrap();
    store
}

#[tokio::test]
async fn records_are_checked_exported_and_imported() {
    let (place, other) = (place(), place());
    let open = store(place.path()).await;
    let checked = run(&["check"], place.path());
    let whole = "is whole: 1 namespace, 1 container, 0 leases, 0 sandboxes\n";
    assert!(text(&checked.stdout).ends_with(whole), "{checked:?}");
    let file = place.path().join("export.json");
    assert!(run(&["export", file.to_str().unwrap()], place.path()).status.success());
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read(&file).unwrap(), run(&["export"], place.path()).stdout);

    let in_use = run(&["import", file.to_str().unwrap()], place.path());
    assert_eq!(in_use.status.code(), Some(125));
    assert!(text(&in_use.stderr).contains("hint: stop the daemon first"), "{in_use:?}");
    drop(open);
    let imported = json(&run(&["import", file.to_str().unwrap(), "-o", "json"], other.path()));
    assert_eq!((&imported["action"], &imported["added"]), (&"import".into(), &2.into()));
    assert_eq!(run(&["export"], other.path()).stdout, std::fs::read(&file).unwrap());

    let missing = run(&["check"], &other.path().join("elsewhere"));
    assert_eq!(missing.status.code(), Some(125));
    assert!(text(&missing.stderr).contains("root directory of a daemon?"), "{missing:?}");
    std::fs::write(&file, "{}").unwrap();
    let refused = run(&["import", file.to_str().unwrap()], other.path());
    assert!(text(&refused.stderr).contains("this is no export of a store"), "{refused:?}");
}

#[tokio::test]
async fn a_damaged_store_names_the_command_that_helps_and_it_does() {
    let place = place();
    drop(store(place.path()).await);
    let path = Store::dir_below(place.path()).join("store.db");
    // What was written last is in the log as well, and would be read from there.
    std::fs::remove_file(path.with_file_name("store.db-wal")).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let length = bytes.len();
    bytes[length - 4096..].fill(0xee);
    std::fs::write(&path, &bytes).unwrap();
    let checked = run(&["check"], place.path());
    assert_eq!(checked.status.code(), Some(125));
    assert!(text(&checked.stderr).contains("`shimkeeper store recover`"), "{checked:?}");
    let bundle = place.path().join("state/io.containerd.runtime.v2.task/default/web");
    std::fs::create_dir_all(&bundle).unwrap();
    std::fs::write(bundle.join("config.json"), "{\"from\":\"the bundle\"}").unwrap();
    std::fs::write(bundle.join("shim-binary-path"), "/usr/bin/containerd-shim-runc-v2").unwrap();
    let state = place.path().join("state");
    let recovered = json(&run(&["recover", "-o", "json", "--state", state.to_str().unwrap()], place.path()));
    let kept = Path::new(recovered["set_aside"].as_str().unwrap());
    assert_eq!(std::fs::read(kept).unwrap(), bytes);
    let checked = json(&run(&["check", "-o", "json"], place.path()));
    assert_eq!(checked["records"]["containers"], 1);
    let again = run(&["recover", "--state", state.to_str().unwrap()], place.path());
    assert!(text(&again.stdout).contains("is whole"), "{again:?}");
}
