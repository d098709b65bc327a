// SPDX-License-Identifier: Apache-2.0
//! Finds the fake shim's binary for the tests of other packages, to which cargo does not give it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};

use crate::deps::workspace;

/// The name of the binary.
const NAME: &str = "containerd-shim-fake-v2";

/// The path of `containerd-shim-fake-v2`, beside the running test's own; built if it is missing or older than its
/// sources. Its directory is what a search path needs for the runtime name `io.containerd.fake.v2`.
///
/// # Panics
/// If it cannot be built.
pub fn fake_shim_binary() -> PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| locate().unwrap_or_else(|e| panic!("building {NAME}: {e}"))).clone()
}

fn locate() -> io::Result<PathBuf> {
    let profile_dir = profile_dir()?;
    let binary = profile_dir.join(NAME);
    if is_fresh(&binary) {
        return Ok(binary);
    }
    // Of several test processes one builds, the others wait for it and look again.
    let lock = fs::File::create(profile_dir.join(".fake-shim.lock"))?;
    flock(&lock, FlockOperation::LockExclusive)?;
    if !is_fresh(&binary) {
        build(&profile_dir)?;
    }
    Ok(binary)
}

/// `target/debug` of `target/debug/deps/test-0123`.
fn profile_dir() -> io::Result<PathBuf> {
    let test = std::env::current_exe()?;
    let inner = ["deps", "examples"];
    let dir = test
        .ancestors()
        .skip(1)
        .find(|dir| !dir.file_name().is_some_and(|name| inner.iter().any(|i| name == *i)));
    dir.map(Path::to_owned).ok_or_else(|| io::Error::other("the test has no directory"))
}

fn build(profile_dir: &Path) -> io::Result<()> {
    let nowhere = || io::Error::other(format!("{} is no directory of cargo's", profile_dir.display()));
    let profile = profile_dir.file_name().and_then(|name| name.to_str()).ok_or_else(nowhere)?;
    let target_dir = profile_dir.parent().ok_or_else(nowhere)?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .current_dir(workspace())
        .args(["build", "--quiet", "--package", "shimkeeper-testkit", "--bin", NAME])
        .args(["--profile", if profile == "debug" { "dev" } else { profile }])
        .arg("--target-dir")
        .arg(target_dir)
        .status()?;
    if built.success() { Ok(()) } else { Err(io::Error::other(format!("cargo build: {built}"))) }
}

/// Whether the binary is there and no older than what it is made of.
fn is_fresh(binary: &Path) -> bool {
    let Ok(built) = modified(binary) else { return false };
    let sources = ["shimkeeper-testkit", "shimkeeper-proto", "shimkeeper-core"];
    sources.iter().all(|name| {
        let dir = workspace().join("crates").join(name);
        newest(&dir.join("src"))
            .max(modified(&dir.join("Cargo.toml")).ok())
            .is_none_or(|newest| newest <= built)
    })
}

/// When the newest file below a directory was changed.
fn newest(dir: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(dir).ok()?.filter_map(Result::ok);
    let times = entries.map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => newest(&entry.path()),
        _ => modified(&entry.path()).ok(),
    });
    times.max().flatten()
}

fn modified(path: &Path) -> io::Result<SystemTime> {
    fs::metadata(path)?.modified()
}
