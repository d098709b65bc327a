// SPDX-License-Identifier: Apache-2.0
//! The daemons that are compared: which binary, what it calls itself, with which flags it keeps to its directories.

use std::path::{Path, PathBuf};
use std::process::Command;

use shimkeeper_testkit::deps;

use crate::against::error::AgainstError;
use crate::args::Comparison;

/// The file name of runc's shim.
pub(crate) const SHIM: &str = "containerd-shim-runc-v2";

/// What is off in every containerd: what opens sockets or makes directories that are the host's, and what only
/// Kubernetes needs. Names that a release does not know do no harm.
const OFF: [&str; 5] = [
    "io.containerd.grpc.v1.cri",
    "io.containerd.cri.v1.images",
    "io.containerd.cri.v1.runtime",
    "io.containerd.internal.v1.opt",
    "io.containerd.nri.v1.nri",
];

/// One daemon's binary.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) binary: PathBuf,
    pub(crate) version: String,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ours,
    Containerd,
}

/// Two daemons on the same shim.
#[derive(Clone, Debug)]
pub(crate) struct Pairing {
    pub(crate) ours: Program,
    pub(crate) theirs: Program,
    pub(crate) shim: PathBuf,
}

impl Pairing {
    /// That of side 0, which is ours, or 1.
    pub(crate) fn program(&self, side: usize) -> &Program {
        if side == 0 { &self.ours } else { &self.theirs }
    }

    /// All that were asked for.
    pub(crate) fn all(options: &Comparison) -> Result<Vec<Self>, AgainstError> {
        let ours = Program::new(&options.shimkeeper, Kind::Ours)?;
        let named = if options.against.is_empty() { by_default() } else { options.against.clone() };
        if named.is_empty() {
            return Err(AgainstError::Nobody);
        }
        let pairing = |binary: &PathBuf| {
            let theirs = Program::new(binary, Kind::Containerd)?;
            let shim = options.shim.clone().unwrap_or_else(|| theirs.binary.with_file_name(SHIM));
            Ok(Self { ours: ours.clone(), theirs, shim: existing(&shim)? })
        };
        named.iter().map(pairing).collect()
    }
}

/// The newest generation that the tests have unpacked, and what the system has.
fn by_default() -> Vec<PathBuf> {
    let unpacked = deps::dir().join("shims/2.1/bin/containerd");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system =
        std::env::split_paths(&path).map(|dir| dir.join("containerd")).find(|binary| binary.is_file());
    std::iter::once(unpacked).filter(|binary| binary.is_file()).chain(system).collect()
}

fn existing(path: &Path) -> Result<PathBuf, AgainstError> {
    std::fs::canonicalize(path).map_err(|_| AgainstError::Missing(path.to_owned()))
}

impl Program {
    fn new(binary: &Path, kind: Kind) -> Result<Self, AgainstError> {
        let binary = existing(binary)?;
        let said =
            Command::new(&binary).arg("--version").output().map_err(AgainstError::file("run", &binary))?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let version = version(&said).ok_or_else(|| AgainstError::Version(binary.clone()))?;
        Ok(Self { binary, version, kind })
    }

    /// For people.
    pub(crate) fn name(&self) -> String {
        let name = match self.kind {
            Kind::Ours => "shimkeeper",
            Kind::Containerd => "containerd",
        };
        format!("{name} {}", self.version)
    }

    /// How large its binary is, in MiB.
    #[expect(clippy::cast_precision_loss, reason = "no binary has 2^52 bytes")]
    pub(crate) fn size(&self) -> Result<f64, AgainstError> {
        let data = std::fs::metadata(&self.binary).map_err(AgainstError::file("look at", &self.binary))?;
        Ok(data.len() as f64 / f64::from(1 << 20))
    }

    /// The configuration that goes with it.
    pub(crate) fn config(&self) -> String {
        match self.kind {
            Kind::Ours => String::new(),
            Kind::Containerd => format!("version = 2\ndisabled_plugins = {OFF:?}\n"),
        }
    }

    /// What comes before the flags, which are the same.
    pub(crate) fn verb(&self) -> Option<&'static str> {
        (self.kind == Kind::Ours).then_some("daemon")
    }
}

/// The first word that begins with a number: `1.6.20~ds1` of a distribution is 1.6.20.
fn version(said: &str) -> Option<String> {
    let digit = |text: &&str| text.starts_with(|c: char| c.is_ascii_digit());
    let word = said.split_whitespace().map(|word| word.trim_start_matches('v')).find(digit)?;
    let end = word.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(word.len());
    Some(word[..end].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found() {
        let find = |said| version(said).unwrap_or_default();
        assert_eq!(find("containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1\n"), "1.6.20");
        assert_eq!(find("containerd github.com/containerd/containerd/v2 v2.1.9 abc"), "2.1.9");
        assert_eq!(find("shimkeeper 0.1.0"), "0.1.0");
        assert_eq!(version("no number"), None);
    }
}
