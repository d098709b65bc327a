// SPDX-License-Identifier: Apache-2.0
//! From the command line to the OCI spec of the container: built from flags here, or taken from a file and
//! completed in `foreign.rs`.

mod foreign;

use std::path::{Path, PathBuf};

use shimkeeper::oci::{self, ContainerSpec, Network};
use shimkeeper_core::{Kind, Mount, TaskKey};

use crate::args::{ContainerArgs, NetworkArg, RunArgs};
use crate::failure::Failure;
use crate::foreground::terminal::Size;
use crate::run::environment;

/// A spec that has passed the check.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) json: Vec<u8>,
    /// Whether the process has a terminal.
    pub(crate) terminal: bool,
}

impl Prepared {
    /// Checks a spec.
    fn new(json: Vec<u8>) -> Result<Self, Failure> {
        let checked = oci::check(&json).map_err(|error| Failure::of(&error, Some(error.hint())))?;
        Ok(Self { json, terminal: checked.terminal })
    }
}

/// The spec of the container `key`, whose terminal begins with `size`.
pub(crate) fn prepare(args: &RunArgs, key: &TaskKey, size: Option<Size>) -> Result<Prepared, Failure> {
    let file = match (&args.source.bundle, &args.source.spec) {
        (Some(bundle), _) => Some(bundle.join("config.json")),
        (None, Some(spec)) => Some(spec.clone()),
        (None, None) => None,
    };
    if let Some(file) = file {
        let changes = foreign::Changes {
            rootfs: args.source.rootfs.as_deref().map(rootfs_dir).transpose()?,
            args: args.command.clone(),
            terminal: args.tty,
        };
        return Prepared::new(foreign::load(&file, &changes)?);
    }
    let rootfs = args.source.rootfs.as_deref().expect("one of the three sources is required");
    let mut spec = ContainerSpec::new(rootfs_dir(rootfs)?, args.command.clone())
        .terminal(args.tty)
        .hostname(args.container.hostname.clone().unwrap_or_else(|| default_hostname(key)))
        .cgroups_path(format!("/shimkeeper-{}-{}", key.namespace, key.id));
    if let Some(Size { rows, columns }) = size {
        spec = spec.console_size(rows, columns);
    }
    let json = describe(spec, &args.container)?.to_json();
    Prepared::new(json.map_err(|error| Failure::of(&error, Some(error.hint())))?)
}

fn describe(mut spec: ContainerSpec, args: &ContainerArgs) -> Result<ContainerSpec, Failure> {
    let own = |key: &str| std::env::var_os(key);
    for variable in environment::variables(&args.env_file, &args.env, &own)? {
        spec = spec.env(variable);
    }
    for mount in args.mount.iter().chain(&args.volume) {
        source_exists(mount)?;
        spec = spec.mount(mount.clone());
    }
    for name in &args.cap_add {
        spec = spec.add_capability(name);
    }
    for name in &args.cap_drop {
        spec = spec.drop_capability(name);
    }
    spec =
        spec.read_only(args.read_only).no_new_privileges(!args.allow_new_privs).network(match args.network {
            NetworkArg::None => Network::None,
            NetworkArg::Host => Network::Host,
        });
    if let Some(dir) = &args.workdir {
        spec = spec.cwd(dir);
    }
    if let Some(user) = &args.user {
        spec = spec.user(user);
    }
    if let Some(bytes) = args.memory {
        spec = spec.memory_bytes(bytes);
    }
    if let Some(millicpus) = args.cpus {
        spec = spec.millicpus(millicpus);
    }
    if let Some(limit) = args.pids_limit {
        spec = spec.pids(limit);
    }
    Ok(spec)
}

/// The kernel takes 64 bytes; an id may be longer.
fn default_hostname(key: &TaskKey) -> String {
    key.id.as_str().chars().take(64).collect()
}

/// Without links, which runtimes do not accept in the root filesystem's own path.
fn rootfs_dir(path: &Path) -> Result<PathBuf, Failure> {
    let what = format!("open the root filesystem {}", path.display());
    path.canonicalize()
        .map_err(|error| Failure::io(what, &error, "give the directory it is unpacked in with --rootfs"))
}

/// A runtime would only say so later, and docker would make a directory that nobody wants.
fn source_exists(mount: &Mount) -> Result<(), Failure> {
    if mount.kind != "bind" || Path::new(&mount.source).exists() {
        return Ok(());
    }
    let what = format!("mount {} on {}: the source does not exist", mount.source, mount.target);
    Err(Failure::new(Kind::NotFound, what, "make it first, or correct --mount or --volume"))
}

#[cfg(test)]
mod tests;
