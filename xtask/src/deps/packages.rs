// SPDX-License-Identifier: Apache-2.0
//! The programs that must be installed: which are missing, and how this machine gets them.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::deps::{elf, generations};
use crate::shell;

/// What is needed, by the name of the Debian package that has it.
const PACKAGES: [(&str, &str); 4] = [
    ("containerd", "the shim of the generation this machine ships"),
    ("runc", "the runtime the shims call by default"),
    ("crun", "the second runtime"),
    ("busybox-static", "the programs inside the test containers"),
];

/// What only the tests need: clients that must not notice on whose API they are.
const FOR_TESTS: [(&str, &str); 3] = [
    ("docker.io", "dockerd, to run on our daemon"),
    ("protobuf-compiler", "what containerd's Rust client is built with"),
    ("systemd", "its tool that passes sockets on"),
];

/// Installs the packages that are its arguments. `policy-rc.d` is the distribution's own way to say that installing
/// must not start a daemon; one that is there already is the administrator's and stays.
const INSTALL: &str = r#"
set -eu
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
install() { apt-get install --yes --quiet --no-install-recommends "$@"; }
install "$@" || { apt-get update --quiet && install "$@"; }
"#;

/// Where the busybox for the root file system of the containers may be.
const BUSYBOX: [&str; 4] =
    ["/bin/busybox", "/usr/bin/busybox", "/usr/sbin/busybox.static", "/bin/busybox.static"];

/// What is going to be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// A container on this machine's own shim.
    Demo,
    /// All tests, also those against other generations.
    Tests,
}

/// Installs what is missing; does nothing, quickly, when nothing is.
pub(crate) fn ensure(deps: &Path, need: Need) -> Result<()> {
    let missing = missing(need);
    if missing.is_empty() {
        return Ok(());
    }
    for (package, why) in needed(need).filter(|(package, _)| missing.contains(package)) {
        println!("deps: {package} is missing ({why})");
    }
    if shell::find("apt-get").is_none() {
        bail!("{}", elsewhere(&missing, deps));
    }
    install(&missing)?;
    let still = self::missing(need);
    if !still.is_empty() {
        bail!("apt-get installed {} without complaint, but they are not found", still.join(", "));
    }
    Ok(())
}

/// A busybox that runs in an empty root.
pub(crate) fn static_busybox() -> Option<PathBuf> {
    let found = shell::find("busybox").into_iter().chain(BUSYBOX.iter().map(PathBuf::from));
    found.into_iter().find(|file| elf::is_static(file).unwrap_or(false))
}

fn needed(need: Need) -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    let for_tests: &[_] = if need == Need::Tests { &FOR_TESTS } else { &[] };
    PACKAGES.iter().chain(for_tests)
}

fn missing(need: Need) -> Vec<&'static str> {
    let is_there = |package: &str| match package {
        "containerd" => shell::find("containerd-shim-runc-v2").is_some(),
        "busybox-static" => static_busybox().is_some(),
        "docker.io" => shell::find("dockerd").is_some() && shell::find("docker").is_some(),
        "protobuf-compiler" => shell::find("protoc").is_some(),
        "systemd" => shell::find("systemd-socket-activate").is_some(),
        program => shell::find(program).is_some(),
    };
    needed(need).map(|(package, _)| *package).filter(|package| !is_there(package)).collect()
}

fn install(missing: &[&str]) -> Result<()> {
    let by_hand = format!("apt-get install --no-install-recommends {}", missing.join(" "));
    let Some(mut command) = shell::as_root(Path::new("sh")) else {
        bail!("installing needs root, and there is no sudo here. As root, type:\n    {by_hand}");
    };
    println!("deps: {by_hand}");
    shell::run(command.args(["-c", INSTALL, "install"]).args(missing))
        .with_context(|| format!("installing failed; by hand it is:\n    {by_hand}"))
}

fn elsewhere(missing: &[&str], deps: &Path) -> String {
    format!(
        "this is no Debian, so nothing is installed for you. Missing (Debian's names): {}.\n\
         Fedora:  dnf install containerd runc crun busybox\n\
         Arch:    pacman -S containerd runc crun busybox\n\
         Alpine:  apk add containerd runc crun busybox-static\n\
         The programs containerd-shim-runc-v2, runc and crun must be on PATH; busybox must be linked statically.\n\
         For the tests, the same programs of other containerd releases go here:\n{}",
        missing.join(", "),
        generations::places(deps)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_names_what_is_missing_and_where_it_goes() {
        let advice = elsewhere(&["crun", "runc"], Path::new("/d"));
        assert!(advice.contains("crun, runc") && advice.contains("/d/shims/1.7/bin/"), "{advice}");
    }
}
