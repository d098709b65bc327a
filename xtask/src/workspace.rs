// SPDX-License-Identifier: Apache-2.0
//! What cargo says about this workspace: where it is, where it builds, and who depends on whom.
//!
//! Everything comes from one `cargo metadata --no-deps`, so `CARGO_TARGET_DIR` and cargo's own configuration are
//! honoured without being read here.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::shell;

/// Overrides where the prepared dependencies of the tests and the demo are kept.
pub(crate) const DEPS_VARIABLE: &str = "SHIMKEEPER_DEPS";

/// The workspace on disk.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    pub(crate) packages: Vec<Package>,
}

/// One member of the workspace.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) dependencies: Vec<Dependency>,
}

/// One line of a member's dependency tables.
#[derive(Debug)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// Whether only its tests, examples and benches see it.
    pub(crate) dev: bool,
}

impl Workspace {
    /// Asks cargo.
    pub(crate) fn load() -> Result<Self> {
        let text = shell::output(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
        Self::parse(&text).context("cannot read what `cargo metadata` printed")
    }

    fn parse(text: &str) -> Result<Self> {
        let metadata: Value = serde_json::from_str(text)?;
        let packages = metadata["packages"].as_array().context("no `packages`")?;
        Ok(Self {
            root: path(&metadata["workspace_root"])?,
            target: path(&metadata["target_directory"])?,
            packages: packages.iter().map(Package::parse).collect::<Result<_>>()?,
        })
    }

    /// Where prepared dependencies are: `SHIMKEEPER_DEPS`, else below the target directory.
    pub(crate) fn deps_dir(&self) -> PathBuf {
        match std::env::var_os(DEPS_VARIABLE) {
            // Tests run in other directories than this process: a relative path must not change its meaning there.
            Some(dir) if !dir.is_empty() => std::path::absolute(&dir).unwrap_or_else(|_| dir.into()),
            _ => self.target.join("deps"),
        }
    }

    /// The cargo command line of this toolchain, at the workspace's root, knowing where the dependencies are.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = cargo();
        command.current_dir(&self.root).env(DEPS_VARIABLE, self.deps_dir());
        command
    }
}

impl Package {
    fn parse(value: &Value) -> Result<Self> {
        let dependencies = value["dependencies"].as_array().context("no `dependencies`")?;
        Ok(Self {
            name: text(&value["name"])?,
            dependencies: dependencies.iter().map(Dependency::parse).collect::<Result<_>>()?,
        })
    }
}

impl Dependency {
    fn parse(value: &Value) -> Result<Self> {
        Ok(Self { name: text(&value["name"])?, dev: value["kind"] == "dev" })
    }
}

fn cargo() -> Command {
    // Set by cargo for what it runs: the same toolchain, also when several are installed.
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn text(value: &Value) -> Result<String> {
    Ok(value.as_str().context("expected a string")?.to_owned())
}

fn path(value: &Value) -> Result<PathBuf> {
    Ok(Path::new(value.as_str().context("expected a path")?).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_read() {
        let text = r#"{"workspace_root":"/w","target_directory":"/t","packages":[
            {"name":"a","dependencies":[{"name":"b","kind":null},{"name":"c","kind":"dev"}]}]}"#;
        let workspace = Workspace::parse(text).unwrap();
        assert_eq!(
            (workspace.root.as_path(), workspace.target.as_path()),
            (Path::new("/w"), Path::new("/t"))
        );
        let edges: Vec<_> =
            workspace.packages[0].dependencies.iter().map(|d| (d.name.as_str(), d.dev)).collect();
        assert_eq!(edges, [("b", false), ("c", true)]);
    }

    #[test]
    fn other_output_is_refused() {
        assert!(Workspace::parse("{}").is_err());
        assert!(Workspace::parse("not JSON").is_err());
    }
}
