// SPDX-License-Identifier: Apache-2.0
//! `package`: the Debian package, by cargo-deb; what is in it is said in `crates/shimkeeper-cli/Cargo.toml`.
//!
//! ```text
//! binary ─┬─▶ stage/release/shimkeeper ─────────────┐
//!         └─ man, completions ─▶ stage/…/handbook/ ─┴▶ cargo-deb ─▶ shimkeeper_VERSION_ARCH.deb
//! ```
//! cargo-deb and not `dpkg-deb` alone: it finds out which libraries are needed and writes what systemd's units take in
//! the maintainer's scripts. It sees a target directory of its own, the stage, so that one of a check is made of the
//! binary that the tests have built.

mod check;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::workspace::Workspace;
use crate::{shell, tools};

/// How a package is made.
struct Kind {
    /// Flags for `cargo build`.
    build: &'static [&'static str],
    /// Where below the target directory the binary is then.
    built: &'static str,
    /// Flags for cargo-deb.
    deb: &'static [&'static str],
}

const RELEASE: Kind = Kind { build: &["--release"], built: "release", deb: &[] };
/// Nobody is to install it: it has to be there quickly.
const CHECKED: Kind = Kind { build: &[], built: "debug", deb: &["--fast"] };

/// Makes the package, and says where it is.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let package = make(workspace, &RELEASE)?;
    println!("package: {}", package.display());
    Ok(())
}

/// Makes one of the unoptimised binary, installs it out of everybody's sight, and uses it; where packages are Debian's.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    if shell::find("dpkg").is_none() {
        println!("package: skipped: there is no dpkg here to install one");
        return Ok(());
    }
    check::run(&make(workspace, &CHECKED)?)
}

fn make(workspace: &Workspace, kind: &Kind) -> Result<PathBuf> {
    let cargo_deb = tools::ensure(workspace, "cargo-deb", &["--no-default-features"])?;
    shell::run(workspace.cargo().args(["build", "--quiet", "--package", "shimkeeper-cli"]).args(kind.build))?;
    let target = workspace.target.join("package");
    let stage = target.join("release");
    let out = workspace.target.join("debian");
    for dir in [&stage, &out] {
        remove(dir)?;
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    let binary = stage.join("shimkeeper");
    let built = workspace.target.join(kind.built).join("shimkeeper");
    fs::copy(&built, &binary).with_context(|| format!("cannot copy {}", built.display()))?;
    write_handbook(&binary, &stage.join("handbook"))?;
    let mut deb = Command::new(cargo_deb);
    deb.current_dir(&workspace.root).env("CARGO_TARGET_DIR", &target).args([
        "--quiet",
        "--no-build",
        "--strip",
    ]);
    deb.args(["--package", "shimkeeper-cli"]).args(kind.deb).arg("--output").arg(&out);
    shell::run(&mut deb)?;
    let entries = fs::read_dir(&out).with_context(|| format!("cannot list {}", out.display()))?;
    let mut packages = entries.filter_map(|entry| Some(entry.ok()?.path()));
    packages.find(|path| path.extension().is_some_and(|end| end == "deb")).context("no package was made")
}

/// What the binary says of itself to `man` and to shells.
fn write_handbook(binary: &Path, dir: &Path) -> Result<()> {
    let man = dir.join("man");
    shell::run(Command::new(binary).arg("man").arg(&man))?;
    // As Debian's policy has it, and without a time of day in them.
    let pages = fs::read_dir(&man).with_context(|| format!("cannot list {}", man.display()))?;
    let pages = pages.filter_map(|page| Some(page.ok()?.path()));
    shell::run(Command::new("gzip").args(["-9", "-n"]).args(pages))?;
    for sh in ["bash", "zsh", "fish"] {
        let script = shell::output(Command::new(binary).args(["completions", sh]))?;
        let file = dir.join(format!("shimkeeper.{sh}"));
        fs::write(&file, script).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}
