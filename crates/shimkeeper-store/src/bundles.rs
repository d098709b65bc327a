// SPDX-License-Identifier: Apache-2.0
//! The bundles of a state directory, as far as a store has to do with them: whether there are any, and what a record
//! can be made of.
//!
//! Shims write in bundles. So no link is followed, and nothing is read but plain files of sensible size.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use shimkeeper_core::{Any, IdError, TaskKey};

use crate::container::{Container, Runtime};
use crate::namespace::NamespaceRecord;
use crate::records::{LeftOut, Records};
use crate::sandbox::Sandbox;

/// Where bundles of tasks are below a state directory, by namespace and id.
const TASKS: &str = "io.containerd.runtime.v2.task";
/// And those of sandboxes.
const SANDBOXES: &str = "io.containerd.sandbox.controller.v1.shim";
/// The controller that keeps sandboxes there.
const SANDBOXER: &str = "shim";
/// The type of OCI's spec of a container.
const SPEC: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";
/// Largest spec: what a message may be.
const MAX_SPEC: u64 = 16 << 20;
/// Longest path.
const MAX_PATH: u64 = 4096;
/// What the names of shims' binaries start with.
const SHIM_PREFIX: &str = "containerd-shim-";

/// Any bundle, if there is one. What cannot be read is taken for nothing: the daemon will meet it again.
pub(crate) fn any(state: &Path) -> Option<PathBuf> {
    [TASKS, SANDBOXES].into_iter().flat_map(|tree| bundles(&state.join(tree))).next()
}

/// A record for every bundle: its id, its spec, and the shim that runs it. What else a client had said is not there.
pub(crate) fn records(state: &Path) -> (Records, Vec<LeftOut>) {
    let (mut records, mut left_out) = (Records::default(), Vec::new());
    for tree in [TASKS, SANDBOXES] {
        for bundle in bundles(&state.join(tree)) {
            if let Err(why) = add(&mut records, &bundle, tree == SANDBOXES) {
                left_out.push(LeftOut { what: format!("bundle {}", bundle.display()), why });
            }
        }
    }
    (records, left_out)
}

fn add(records: &mut Records, bundle: &Path, is_sandbox: bool) -> Result<(), String> {
    let key = key_of(bundle).ok_or("its name is no text")?.map_err(|error| error.to_string())?;
    let (namespace, id, now) = (key.namespace.to_string(), key.id.to_string(), Some(SystemTime::now()));
    let said = |name: &'static str| move |error: io::Error| format!("cannot read {name}: {error}");
    let shim = read(&bundle.join("shim-binary-path"), MAX_PATH).map_err(said("shim-binary-path"))?;
    let shim = String::from_utf8(shim).map_err(|_| "shim-binary-path is no text")?;
    let runtime = Runtime { name: runtime_name(shim.trim_end()), options: None };
    if is_sandbox {
        // What its spec was is not in the bundle in the client's words.
        let sandboxer = SANDBOXER.to_owned();
        let sandbox = Sandbox { id, runtime, sandboxer, created_at: now, updated_at: now, ..<_>::default() };
        sandbox.check().map_err(|problem| problem.to_string())?;
        records.sandboxes.push((namespace.clone(), sandbox));
    } else {
        let spec = match read(&bundle.join("config.json"), MAX_SPEC) {
            Ok(spec) => Some(Any::new(SPEC, spec)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(said("config.json")(error)),
        };
        let container = Container { id, runtime, spec, created_at: now, updated_at: now, ..<_>::default() };
        container.check().map_err(|problem| problem.to_string())?;
        records.containers.push((namespace.clone(), container));
    }
    if !records.namespaces.iter().any(|record| record.name == namespace) {
        records.namespaces.push(NamespaceRecord { name: namespace, ..<_>::default() });
    }
    Ok(())
}

/// A bundle's directory is called like the task, and is in one called like the namespace.
fn key_of(bundle: &Path) -> Option<Result<TaskKey, IdError>> {
    let namespace = bundle.parent()?.file_name()?.to_str()?;
    Some(TaskKey::parse(namespace, bundle.file_name()?.to_str()?))
}

/// The name of a runtime whose shim this is: `io.containerd.runc.v2` for `containerd-shim-runc-v2`; of a binary with
/// any other name its path, which is a name as well.
fn runtime_name(shim: &str) -> String {
    let file = shim.rsplit('/').next().unwrap_or(shim);
    let parts = file.strip_prefix(SHIM_PREFIX).and_then(|rest| rest.rsplit_once('-'));
    match parts {
        Some((name, version)) if !name.is_empty() && version.starts_with('v') => {
            format!("io.containerd.{name}.{version}")
        }
        _ => shim.to_owned(),
    }
}

/// A plain file of at most so many bytes.
fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    // Neither through a link nor waiting at a pipe.
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits();
    let file: File = OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no plain file"));
    }
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is too large"));
    }
    Ok(bytes)
}

/// The bundles of a tree: two levels down.
fn bundles(tree: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    directories(tree).flat_map(|namespace| directories(&namespace))
}

/// The directories in a directory whose names do not start with a dot.
fn directories(of: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(of).into_iter().flatten().flatten();
    let plain = entries.filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."));
    let directories = plain.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories.map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_is_named_after_its_shim() {
        for (shim, name) in [
            ("/usr/bin/containerd-shim-runc-v2", "io.containerd.runc.v2"),
            ("/opt/containerd-shim-spin-fast-v2", "io.containerd.spin-fast.v2"),
            ("/opt/my-shim", "/opt/my-shim"),
            ("/opt/containerd-shim-v2", "/opt/containerd-shim-v2"),
            ("/opt/containerd-shim-kata-next", "/opt/containerd-shim-kata-next"),
        ] {
            assert_eq!(runtime_name(shim), name, "{shim}");
        }
    }
}
