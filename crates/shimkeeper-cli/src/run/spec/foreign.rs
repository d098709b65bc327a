// SPDX-License-Identifier: Apache-2.0
//! A spec that somebody else wrote: `--bundle DIR` and `--spec FILE`.
//!
//! It is edited only where it must be. Relative paths mean "relative to the bundle" to a runtime, and the runtime
//! will see our bundle instead of theirs; so they are made absolute. What was asked for on the command line
//! replaces its counterpart. When nothing has to change, the bytes are passed on as they are.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use shimkeeper_core::Kind;

use crate::failure::Failure;

/// No spec is larger than that.
const LIMIT_BYTES: u64 = 16 << 20;

/// What the command line says about a spec from a file.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// In the place of `root.path`.
    pub(super) rootfs: Option<PathBuf>,
    /// In the place of `process.args`, unless empty.
    pub(super) args: Vec<String>,
    /// Whether to give the process a terminal even if the spec does not.
    pub(super) terminal: bool,
}

/// Reads the spec in `file` and makes the changes.
pub(super) fn load(file: &Path, changes: &Changes) -> Result<Vec<u8>, Failure> {
    let hint = "check the path given with --bundle or --spec";
    let failed = |error| Failure::io(format!("read the OCI spec {}", file.display()), &error, hint);
    let size = std::fs::metadata(file).map_err(failed)?.len();
    if size > LIMIT_BYTES {
        let what = format!("the OCI spec {} is larger than {LIMIT_BYTES} bytes", file.display());
        return Err(Failure::new(Kind::InvalidArgument, what, hint));
    }
    let bytes = std::fs::read(file).map_err(failed)?;
    let file = std::path::absolute(file).map_err(failed)?;
    let dir = file.parent().expect("a file that was read is in a directory");
    apply(bytes, dir, changes)
}

fn apply(bytes: Vec<u8>, dir: &Path, changes: &Changes) -> Result<Vec<u8>, Failure> {
    // What is no JSON is left for the check to refuse, which says it better.
    let Ok(mut spec) = serde_json::from_slice::<Value>(&bytes) else { return Ok(bytes) };
    let mut edited = anchor_paths(&mut spec, dir);
    if let Some(rootfs) = &changes.rootfs {
        edited |= set(&mut spec, "root", "path", json!(text(rootfs)?));
    }
    if !changes.args.is_empty() {
        edited |= set(&mut spec, "process", "args", json!(changes.args));
    }
    if changes.terminal {
        edited |= set(&mut spec, "process", "terminal", json!(true));
    }
    if !edited {
        return Ok(bytes);
    }
    Ok(serde_json::to_vec(&spec).expect("a JSON value can be written"))
}

/// Makes `root.path` and the sources of bind mounts absolute.
fn anchor_paths(spec: &mut Value, dir: &Path) -> bool {
    let mut edited = spec.pointer_mut("/root/path").is_some_and(|path| anchor(path, dir));
    let mounts = spec.get_mut("mounts").and_then(Value::as_array_mut);
    for mount in mounts.into_iter().flatten().filter(|mount| is_bind(mount)) {
        edited |= mount.get_mut("source").is_some_and(|source| anchor(source, dir));
    }
    edited
}

fn anchor(path: &mut Value, dir: &Path) -> bool {
    let Some(relative) = path.as_str().filter(|path| !path.is_empty() && !path.starts_with('/')) else {
        return false;
    };
    let Ok(absolute) = text(&dir.join(relative)) else { return false };
    *path = Value::String(absolute);
    true
}

fn is_bind(mount: &Value) -> bool {
    let named = |option: &Value| matches!(option.as_str(), Some("bind" | "rbind"));
    mount["type"] == "bind" || mount["options"].as_array().is_some_and(|options| options.iter().any(named))
}

/// Sets a field of an object, making the object if there is none; a spec of another shape is left to the check.
fn set(spec: &mut Value, object: &str, field: &str, value: Value) -> bool {
    let Some(spec) = spec.as_object_mut() else { return false };
    let Some(object) = spec.entry(object).or_insert_with(|| json!({})).as_object_mut() else { return false };
    object.insert(field.to_owned(), value);
    true
}

fn text(path: &Path) -> Result<String, Failure> {
    let text = path.to_str().map(str::to_owned);
    let what = || format!("the path {} is not valid UTF-8", path.display());
    text.ok_or_else(|| Failure::new(Kind::InvalidArgument, what(), "rename it: an OCI spec is JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIR: &str = "/srv/bundle";

    fn applied(spec: &Value, changes: &Changes) -> Value {
        let bytes = apply(serde_json::to_vec(spec).unwrap(), Path::new(DIR), changes).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn what_needs_no_change_keeps_its_bytes() {
        let bytes = br#"{ "z": 1.50, "root": {"path": "/r"}, "a": 18446744073709551616 }"#;
        assert_eq!(apply(bytes.to_vec(), Path::new(DIR), &Changes::default()).unwrap(), bytes);
        let garbage = b"not json";
        assert_eq!(apply(garbage.to_vec(), Path::new(DIR), &Changes::default()).unwrap(), garbage);
    }

    #[test]
    fn relative_paths_are_those_of_the_bundle() {
        let spec = json!({
            "root": {"path": "rootfs"},
            "mounts": [
                {"type": "bind", "source": "data", "destination": "/a"},
                {"type": "none", "source": "data", "options": ["rbind"], "destination": "/b"},
                {"type": "bind", "source": "/abs", "destination": "/c"},
                {"type": "tmpfs", "source": "tmpfs", "destination": "/d"},
            ],
        });
        let spec = applied(&spec, &Changes::default());
        assert_eq!(spec["root"]["path"], "/srv/bundle/rootfs");
        let sources: Vec<_> =
            spec["mounts"].as_array().unwrap().iter().map(|mount| &mount["source"]).collect();
        assert_eq!(sources, ["/srv/bundle/data", "/srv/bundle/data", "/abs", "tmpfs"]);
    }

    #[test]
    fn the_command_line_replaces_its_counterparts() {
        let spec =
            json!({"root": {"path": "r", "readonly": true}, "process": {"args": ["a"], "cwd": "/"}, "x": 1});
        let changes =
            Changes { rootfs: Some("/other".into()), args: vec!["b".into(), "c".into()], terminal: true };
        let expected = json!({
            "root": {"path": "/other", "readonly": true},
            "process": {"args": ["b", "c"], "cwd": "/", "terminal": true},
            "x": 1,
        });
        assert_eq!(applied(&spec, &changes), expected);
        assert_eq!(applied(&json!({}), &changes)["root"]["path"], "/other");
        assert_eq!(applied(&json!({"root": []}), &changes)["root"], json!([]), "left for the check");
    }
}
