// SPDX-License-Identifier: Apache-2.0
//! One suite of the machine's package archive, seen through an apt state of our own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::deps::apt_sources;
use crate::shell;

/// A suite whose list of packages has been fetched below a private directory.
#[derive(Debug)]
pub(crate) struct Archive {
    directory: PathBuf,
}

impl Archive {
    /// Fetches and verifies the list of packages of `suite`; everything is kept below `work`.
    pub(crate) fn open(work: &Path, suite: &str) -> Result<Self> {
        let archive = Self { directory: work.join(suite) };
        let partial = ["lists/partial", "cache/archives/partial"];
        for path in partial.map(|path| archive.directory.join(path)) {
            fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        }
        let list = archive.source_list();
        fs::write(&list, stanza(suite)?).with_context(|| format!("cannot write {}", list.display()))?;
        shell::output(archive.apt("apt-get").arg("update")).map_err(explain)?;
        Ok(archive)
    }

    /// The newest version of a package.
    pub(crate) fn newest_version(&self, package: &str) -> Result<String> {
        let text = shell::output(self.apt("apt-cache").args(["madison", package]))?;
        newest(&text, package).with_context(|| format!("it has no package {package}"))
    }

    /// Fetches a package and unpacks it below the private directory.
    pub(crate) fn unpack(&self, package: &str, version: &str) -> Result<PathBuf> {
        let download = self.directory.join("download").join(package);
        fs::create_dir_all(&download).with_context(|| format!("cannot make {}", download.display()))?;
        let wanted = format!("{package}={version}");
        shell::output(self.apt("apt-get").args(["download", &wanted]).current_dir(&download))
            .map_err(explain)?;
        let mut files = fs::read_dir(&download)?.flatten().map(|entry| entry.path());
        let file = files.find(|file| file.extension().is_some_and(|ending| ending == "deb"));
        let file = file.context("apt-get said it fetched the package, but there is none")?;
        let tree = self.directory.join("tree").join(package);
        fs::create_dir_all(&tree).with_context(|| format!("cannot make {}", tree.display()))?;
        shell::run(Command::new("dpkg-deb").arg("-x").args([&file, &tree]))?;
        Ok(tree)
    }

    fn source_list(&self) -> PathBuf {
        // This ending makes apt read the stanza form.
        self.directory.join("archive.sources")
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let mut set = |option: &str, value: &Path| {
            command.arg("-o").arg(format!("{option}={}", value.display()));
        };
        set("Dir::Etc::sourcelist", &self.source_list());
        set("Dir::Etc::sourceparts", Path::new("/dev/null"));
        set("Dir::State::lists", &self.directory.join("lists"));
        set("Dir::Cache", &self.directory.join("cache"));
        // The unprivileged user apt would fetch as cannot write below a build directory.
        set("APT::Sandbox::User", Path::new("root"));
        set("Acquire::Languages", Path::new("none"));
        // A list that could not be fetched is a failure, not a warning.
        set("APT::Update::Error-Mode", Path::new("any"));
        command.arg("-q").env("LC_ALL", "C.UTF-8");
        command
    }
}

fn stanza(suite: &str) -> Result<String> {
    let release = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let codename = apt_sources::codename(&release).context("/etc/os-release has no VERSION_CODENAME")?;
    let sources = apt_sources::read_machine(Path::new("/etc/apt"))?;
    let Some(source) = apt_sources::main_archive(&sources, codename) else {
        bail!("the apt sources of this machine name no archive for its own release, {codename}");
    };
    let architecture = shell::output(Command::new("dpkg").arg("--print-architecture"))?;
    Ok(source.stanza(suite, architecture.trim()))
}

/// The first version of `apt-cache madison`, which lists the newest first.
fn newest(madison: &str, package: &str) -> Option<String> {
    let mut lines = madison.lines().map(|line| line.split('|').map(str::trim));
    lines.find_map(|mut columns| (columns.next()? == package).then(|| columns.next().map(str::to_owned))?)
}

/// Says which of apt's failures it was, where the fix differs.
fn explain(error: anyhow::Error) -> anyhow::Error {
    let text = error.to_string();
    if ["NO_PUBKEY", "is not signed", "EXPKEYSIG"].iter().any(|sign| text.contains(sign)) {
        return error
            .context("this machine's keyring cannot verify the suite (a newer debian-archive-keyring can)");
    }
    if text.contains("does not have a Release file") {
        return error.context("the archive of this machine does not have the suite");
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_is_the_first() {
        let text = "containerd | 1.7.24-6 | http://m trixie/main amd64 Packages\n\
                    containerd | 1.7.1-1 | http://m trixie/main amd64 Packages\n";
        assert_eq!(newest(text, "containerd").as_deref(), Some("1.7.24-6"));
        assert_eq!(newest("", "containerd"), None);
        assert_eq!(newest("N: Unable to locate package containerd\n", "containerd"), None);
    }

    #[test]
    fn an_unverifiable_suite_is_told_from_an_absent_one() {
        let explained = |text: &'static str| explain(anyhow::anyhow!(text)).to_string();
        assert!(explained("W: GPG error … NO_PUBKEY 123").contains("keyring"));
        assert!(
            explained("E: The repository 'x' does not have a Release file.")
                .contains("does not have the suite")
        );
        assert_eq!(explained("E: other"), "E: other");
    }
}
