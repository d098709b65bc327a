// SPDX-License-Identifier: Apache-2.0
//! Looks at a `config.json` before anything is started for it.
//!
//! A runtime finds the same mistakes, but only after a shim is running, and says so in its own words. Here a
//! mistake costs nothing and is named by its field. What this file does not know is none of its business:
//! unknown fields belong to the runtime, and the bytes are never rewritten.

use std::path::{Path, PathBuf};

use rustix::io::Errno;
use serde_json::{Map, Value};
use shimkeeper_core::{HasKind, Kind};

use crate::oci::rootfs::host_directory;

/// What is wrong with a spec.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The bytes are not JSON.
    #[error("the OCI spec is not valid JSON")]
    NotJson {
        /// Where, and what was expected there.
        #[source]
        source: serde_json::Error,
    },
    /// The bytes are JSON, but no object.
    #[error("the OCI spec is not a JSON object")]
    NotAnObject,
    /// A field that must be there is not.
    #[error("the OCI spec has no {field}")]
    Missing {
        /// Its path, as in `process.args`.
        field: &'static str,
    },
    /// A field that must not be empty is.
    #[error("{field} of the OCI spec is empty")]
    Empty {
        /// Its path, as in `process.args`.
        field: &'static str,
    },
    /// A field has another type than the specification gives it.
    #[error("{field} of the OCI spec is not {expected}")]
    WrongType {
        /// Its path, as in `process.args`.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// A path that must begin at the root does not.
    #[error("{field} of the OCI spec is {path:?}, which is not absolute")]
    NotAbsolute {
        /// Its path, as in `process.cwd`.
        field: &'static str,
        /// Its value.
        path: String,
    },
    /// The root filesystem cannot be looked at.
    #[error("root.path of the OCI spec is {}, which cannot be opened", path.display())]
    RootUnreadable {
        /// Its value.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: Errno,
    },
    /// The root filesystem is no directory.
    #[error("root.path of the OCI spec is {}, which is not a directory", path.display())]
    RootNotADirectory {
        /// Its value.
        path: PathBuf,
    },
}

impl HasKind for SpecError {
    fn kind(&self) -> Kind {
        match self {
            Self::RootUnreadable { source, .. } => match Kind::of_io(&(*source).into()) {
                kind @ (Kind::NotFound | Kind::PermissionDenied) => kind,
                _ => Kind::InvalidArgument,
            },
            _ => Kind::InvalidArgument,
        }
    }
}

impl SpecError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NotJson { .. } | Self::NotAnObject => {
                "give the content of an OCI config.json; `runc spec` writes an example"
            }
            Self::Missing { field: "root" | "root.path" } | Self::Empty { field: "root.path" } => {
                "set root.path to the directory of the root filesystem"
            }
            Self::Missing { .. } | Self::Empty { .. } => {
                "set process.args to the command and process.cwd to the directory it starts in"
            }
            Self::WrongType { .. } => "correct the field: the OCI runtime specification gives its type",
            Self::NotAbsolute { .. } => "write the path from the container's root, beginning with a slash",
            Self::RootUnreadable { .. } | Self::RootNotADirectory { .. } => {
                "check that the root filesystem is unpacked there and may be read"
            }
        }
    }
}

/// What a manager has to know of a spec that has passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Whether the process wants a terminal.
    pub terminal: bool,
    /// The root filesystem; relative means relative to the bundle.
    pub root: PathBuf,
    /// The group on the host that is group 0 in the container, when the container has a user namespace in which
    /// that is another one than the host's group 0. The bundle must then be passable for that group.
    pub container_root_host_gid: Option<u32>,
    /// Whether a mount asks for its own id mapping, which not every runtime can do.
    pub wants_idmapped_mounts: bool,
    /// The group of containers that share one shim, as the annotations name it to shims of runc's family.
    pub group: Option<String>,
}

/// By these, in this order, a shim of runc's family finds the one it joins.
const GROUP_ANNOTATIONS: [&str; 2] = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];

/// Checks the content of a `config.json`.
///
/// # Errors
/// The first thing found that would keep every runtime from starting it.
pub fn check(json: &[u8]) -> Result<Checked, SpecError> {
    let value: Value = serde_json::from_slice(json).map_err(|source| SpecError::NotJson { source })?;
    let spec = value.as_object().ok_or(SpecError::NotAnObject)?;
    let terminal = check_process_object(object(spec, "process", "process")?)?;
    let root = check_root(object(spec, "root", "root")?)?;
    Ok(Checked {
        terminal,
        root,
        container_root_host_gid: root_host_gid(&value)?,
        wants_idmapped_mounts: wants_idmapped_mounts(&value),
        group: group(&value),
    })
}

/// Checks the JSON of a process that is to be added to a container.
///
/// # Errors
/// The first thing found that would keep every runtime from starting it.
pub fn check_process(json: &[u8]) -> Result<(), SpecError> {
    let value: Value = serde_json::from_slice(json).map_err(|source| SpecError::NotJson { source })?;
    check_process_object(value.as_object().ok_or(SpecError::NotAnObject)?).map(drop)
}

fn check_process_object(process: &Map<String, Value>) -> Result<bool, SpecError> {
    let field = "process.args";
    let wrong = SpecError::WrongType { field, expected: "a list of strings" };
    let args = present(process, "args", field)?.as_array().ok_or(wrong)?;
    if args.is_empty() {
        return Err(SpecError::Empty { field });
    }
    if !args.iter().all(Value::is_string) {
        return Err(SpecError::WrongType { field, expected: "a list of strings" });
    }
    let cwd = string(process, "cwd", "process.cwd")?;
    if !cwd.starts_with('/') {
        return Err(SpecError::NotAbsolute { field: "process.cwd", path: cwd.to_owned() });
    }
    match process.get("terminal") {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(terminal)) => Ok(*terminal),
        Some(_) => Err(SpecError::WrongType { field: "process.terminal", expected: "true or false" }),
    }
}

fn check_root(root: &Map<String, Value>) -> Result<PathBuf, SpecError> {
    let path = Path::new(string(root, "path", "root.path")?).to_owned();
    if path.as_os_str().is_empty() {
        return Err(SpecError::Empty { field: "root.path" });
    }
    if path.is_relative() {
        return Ok(path);
    }
    match host_directory(&path) {
        Ok(true) => Ok(path),
        Ok(false) => Err(SpecError::RootNotADirectory { path }),
        Err(source) => Err(SpecError::RootUnreadable { path, source }),
    }
}

/// Only a mapping that begins at container id 0 can contain it.
fn root_host_gid(spec: &Value) -> Result<Option<u32>, SpecError> {
    let wrong = || SpecError::WrongType { field: "linux.gidMappings", expected: "a list of id mappings" };
    let mappings = match spec.pointer("/linux/gidMappings") {
        None | Some(Value::Null) => return Ok(None),
        Some(list) => list.as_array().ok_or_else(wrong)?,
    };
    for mapping in mappings {
        let mapping = mapping.as_object().ok_or_else(wrong)?;
        let number = |name: &str| match mapping.get(name) {
            None => Ok(0),
            Some(value) => value.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or_else(wrong),
        };
        let (container, host) = (number("containerID")?, number("hostID")?);
        if container == 0 {
            return Ok(Some(host).filter(|host| *host != 0));
        }
    }
    Ok(None)
}

/// The group that the annotations of a spec name.
pub(crate) fn group(spec: &Value) -> Option<String> {
    let annotations = spec.get("annotations")?;
    let named = |name: &&str| Some(annotations.get(name)?.as_str()?.to_owned());
    GROUP_ANNOTATIONS.iter().find_map(named)
}

fn wants_idmapped_mounts(spec: &Value) -> bool {
    let filled = |list: Option<&Value>| list.and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    let asks = |mount: &Value| {
        let options = mount.get("options").and_then(Value::as_array);
        let named = |option: &Value| matches!(option.as_str(), Some("idmap" | "ridmap"));
        filled(mount.get("uidMappings"))
            || filled(mount.get("gidMappings"))
            || options.is_some_and(|options| options.iter().any(named))
    };
    spec.get("mounts").and_then(Value::as_array).is_some_and(|mounts| mounts.iter().any(asks))
}

fn present<'a>(
    object: &'a Map<String, Value>,
    name: &str,
    field: &'static str,
) -> Result<&'a Value, SpecError> {
    object.get(name).filter(|value| !value.is_null()).ok_or(SpecError::Missing { field })
}

fn object<'a>(
    parent: &'a Map<String, Value>,
    name: &str,
    field: &'static str,
) -> Result<&'a Map<String, Value>, SpecError> {
    let wrong = SpecError::WrongType { field, expected: "an object" };
    present(parent, name, field)?.as_object().ok_or(wrong)
}

fn string<'a>(parent: &'a Map<String, Value>, name: &str, field: &'static str) -> Result<&'a str, SpecError> {
    let wrong = SpecError::WrongType { field, expected: "a string" };
    present(parent, name, field)?.as_str().ok_or(wrong)
}

#[cfg(test)]
mod tests;
