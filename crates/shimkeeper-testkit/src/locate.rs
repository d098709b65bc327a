// SPDX-License-Identifier: Apache-2.0
//! Finds binaries of this workspace for the tests of other packages, to which cargo does not give them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};

use crate::deps::workspace;

/// A binary of this workspace, and the packages that it is made of, its own first.
struct Binary {
    name: &'static str,
    packages: &'static [&'static str],
}

const FAKE_SHIM: Binary = Binary {
    name: "containerd-shim-fake-v2",
    packages: &["shimkeeper-testkit", "shimkeeper-proto", "shimkeeper-core"],
};

const SHIMKEEPER: Binary = Binary {
    name: "shimkeeper",
    packages: &[
        "shimkeeper-cli",
        "shimkeeper-daemon",
        "shimkeeper-api",
        "shimkeeper-store",
        "shimkeeper",
        "shimkeeper-shim",
        "shimkeeper-events",
        "shimkeeper-ttrpc",
        "shimkeeper-proto",
        "shimkeeper-core",
    ],
};

/// The path of `containerd-shim-fake-v2`, beside the running test's own; built if it is missing or older than its
/// sources. Its directory is what a search path needs for the runtime name `io.containerd.fake.v2`.
///
/// # Panics
/// If it cannot be built.
pub fn fake_shim_binary() -> PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| FAKE_SHIM.path()).clone()
}

/// The path of `shimkeeper`, in the same way. For tests of other packages than its own.
///
/// # Panics
/// If it cannot be built.
pub fn shimkeeper_binary() -> PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| SHIMKEEPER.path()).clone()
}

impl Binary {
    fn path(&self) -> PathBuf {
        self.locate().unwrap_or_else(|e| panic!("building {}: {e}", self.name))
    }

    fn locate(&self) -> io::Result<PathBuf> {
        let profile_dir = profile_dir()?;
        let binary = profile_dir.join(self.name);
        if self.is_fresh(&binary) {
            return Ok(binary);
        }
        // Of several test processes one builds, the others wait for it and look again.
        let lock = fs::File::create(profile_dir.join(format!(".{}.lock", self.name)))?;
        flock(&lock, FlockOperation::LockExclusive)?;
        if !self.is_fresh(&binary) {
            self.build(&profile_dir)?;
        }
        Ok(binary)
    }

    fn build(&self, profile_dir: &Path) -> io::Result<()> {
        let nowhere = || io::Error::other(format!("{} is no directory of cargo's", profile_dir.display()));
        let profile = profile_dir.file_name().and_then(|name| name.to_str()).ok_or_else(nowhere)?;
        let target_dir = profile_dir.parent().ok_or_else(nowhere)?;
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .current_dir(workspace())
            .args(["build", "--quiet", "--package", self.packages[0], "--bin", self.name])
            .args(["--profile", if profile == "debug" { "dev" } else { profile }])
            .arg("--target-dir")
            .arg(target_dir)
            .status()?;
        if built.success() { Ok(()) } else { Err(io::Error::other(format!("cargo build: {built}"))) }
    }

    /// Whether it is there and no older than what it is made of.
    fn is_fresh(&self, binary: &Path) -> bool {
        let Ok(built) = modified(binary) else { return false };
        self.packages.iter().all(|name| {
            let dir = workspace().join("crates").join(name);
            newest(&dir.join("src"))
                .max(modified(&dir.join("Cargo.toml")).ok())
                .is_none_or(|newest| newest <= built)
        })
    }
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
