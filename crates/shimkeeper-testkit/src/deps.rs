// SPDX-License-Identifier: Apache-2.0
//! What some tests need and this workspace does not build: shims of several generations, a root file system.
//!
//! A test that needs one fails if it is missing, and says how to get it: a test that skips itself tests nothing.

use std::path::{Path, PathBuf};

/// A generation of containerd's shim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Generation {
    /// Task API version 2, legacy answer; the distribution's package, on the path.
    V1_6,
    /// Task API version 2, answer in JSON.
    V1_7,
    /// Task API version 3.
    V2_1,
}

/// The shim's file name, whatever the generation.
const SHIM: &str = "containerd-shim-runc-v2";

/// The directory they are in: `SHIMKEEPER_DEPS`, else `target/deps` of the workspace.
pub fn dir() -> PathBuf {
    match std::env::var_os("SHIMKEEPER_DEPS") {
        Some(dir) => dir.into(),
        None => workspace().join("target/deps"),
    }
}

/// A root file system with busybox.
///
/// # Panics
/// If it is not there.
pub fn rootfs() -> PathBuf {
    present(dir().join("rootfs"), "a root file system")
}

/// The runc shim of a generation.
///
/// # Panics
/// If it is not there.
pub fn shim(generation: Generation) -> PathBuf {
    present(bin_dir(generation).join(SHIM), "the runc shim")
}

/// The directory of the programs of a generation: the shim, and from 1.7 on `ctr` and `containerd`.
///
/// # Panics
/// If it is not there.
pub fn bin_dir(generation: Generation) -> PathBuf {
    let version = match generation {
        Generation::V1_6 => return on_path(),
        Generation::V1_7 => "1.7",
        Generation::V2_1 => "2.1",
    };
    present(dir().join("shims").join(version).join("bin"), "a generation of containerd")
}

/// The first directory of the search path that has the shim.
fn on_path() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).find(|dir| dir.join(SHIM).is_file());
    found.unwrap_or_else(|| missing(&format!("{SHIM} is not on the search path: install containerd 1.6")))
}

/// A dockerd of a newer release than the distribution's.
///
/// # Panics
/// If it is not there.
pub fn newer_dockerd() -> PathBuf {
    present(dir().join("docker/newer/dockerd"), "a newer dockerd")
}

/// containerd's own Rust client, as a program that lives a container's life.
///
/// # Panics
/// If it is not there.
pub fn rust_client() -> PathBuf {
    present(dir().join("clients/shimkeeper-containerd-client"), "containerd's Rust client")
}

fn present(path: PathBuf, what: &str) -> PathBuf {
    if !path.exists() {
        missing(&format!("{what} is missing: no {}", path.display()));
    }
    path
}

fn missing(what: &str) -> ! {
    panic!("{what}. Run `cargo xtask deps --tests`, or point SHIMKEEPER_DEPS to what it makes.")
}

/// The root of this workspace.
pub(crate) fn workspace() -> &'static Path {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    root.expect("the crate is two levels below the root of its workspace")
}
