// SPDX-License-Identifier: Apache-2.0
//! The shims of other containerd generations, unpacked next to the build and never installed.
//!
//! They come from newer suites of the archive that this machine's own apt configuration names, through a private apt
//! state: the system's package lists and packages are not touched, signatures are checked with the system's keys.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::deps::archive::Archive;
use crate::deps::staging::Staging;
use crate::shell;

/// The generations the tests run against besides the installed one, by the directory they are in.
const GENERATIONS: [&str; 2] = ["1.7", "2.1"];
/// Newer suites, oldest first: an older one has the better chance to run on this machine.
const SUITES: [&str; 3] = ["trixie", "forky", "sid"];
/// The package that has one.
const PACKAGE: &str = "containerd";
/// What a generation is made of.
const PROGRAMS: [&str; 3] = ["containerd-shim-runc-v2", "ctr", "containerd"];

/// A version that a suite has.
#[derive(Debug, PartialEq, Eq)]
struct Offer {
    suite: &'static str,
    version: String,
}

/// Fetches the generations that are not there yet.
pub(crate) fn ensure(deps: &Path) -> Result<()> {
    let missing: Vec<&str> =
        GENERATIONS.into_iter().filter(|name| !is_complete(&directory(deps, name))).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("deps: fetching the shims of containerd {} (unpacked, not installed)", missing.join(" and "));
    fetch(deps, &missing).with_context(|| by_hand(deps))
}

/// Where a generation is.
fn directory(deps: &Path, generation: &str) -> PathBuf {
    deps.join("shims").join(generation)
}

fn is_complete(directory: &Path) -> bool {
    PROGRAMS.iter().all(|program| directory.join("bin").join(program).is_file())
}

fn fetch(deps: &Path, missing: &[&str]) -> Result<()> {
    // Dropped, and with it some hundred megabytes of package lists, however this ends.
    let work = Staging::new(deps, "apt")?;
    let mut archives: Vec<(Offer, Archive)> = Vec::new();
    let mut refusals = Vec::new();
    for suite in SUITES {
        match Archive::open(work.path(), suite)
            .and_then(|archive| Ok((archive.newest_version(PACKAGE)?, archive)))
        {
            Ok((version, archive)) => {
                println!("deps: suite {suite} has containerd {version}");
                archives.push((Offer { suite, version }, archive));
            }
            Err(error) => refusals.push(format!("suite {suite}: {error:#}")),
        }
        if missing.iter().all(|name| archives.iter().any(|(offer, _)| is_of(name, &offer.version))) {
            break;
        }
    }
    for name in missing {
        let offers = archives.iter().map(|(offer, _)| offer);
        let Some(chosen) = choose(name, offers) else {
            let seen: Vec<_> =
                archives.iter().map(|(offer, _)| format!("{} {}", offer.suite, offer.version)).collect();
            bail!("no suite has containerd {name}; seen: [{}]\n{}", seen.join(", "), refusals.join("\n"));
        };
        let (offer, archive) = &archives[chosen];
        if !is_of(name, &offer.version) {
            println!("deps: NOTE containerd {name} is gone; {} takes its place", offer.version);
        }
        unpack(deps, name, offer, archive)?;
    }
    Ok(())
}

/// Which offer serves a generation: its own, else, for the newest generation, the newest of the same major version.
fn choose<'a>(generation: &str, offers: impl Iterator<Item = &'a Offer> + Clone) -> Option<usize> {
    if let Some(exact) = offers.clone().position(|offer| is_of(generation, &offer.version)) {
        return Some(exact);
    }
    if Some(&generation) != GENERATIONS.last() {
        return None;
    }
    let (major, _) = number(generation)?;
    let same_major = offers.enumerate().filter_map(|(index, offer)| Some((number(&offer.version)?, index)));
    same_major.filter(|((of, _), _)| *of == major).max().map(|(_, index)| index)
}

fn is_of(generation: &str, version: &str) -> bool {
    number(generation).is_some() && number(generation) == number(version)
}

/// The first two numbers of a version.
fn number(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split(|character: char| !character.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn unpack(deps: &Path, generation: &str, offer: &Offer, archive: &Archive) -> Result<()> {
    let tree = archive.unpack(PACKAGE, &offer.version)?;
    let staging = Staging::new(deps, "shim")?;
    let bin = staging.path().join("bin");
    fs::create_dir(&bin).with_context(|| format!("cannot make {}", bin.display()))?;
    for program in PROGRAMS {
        let from = tree.join("usr/bin").join(program);
        fs::rename(&from, bin.join(program))
            .with_context(|| format!("the package has no {}", from.display()))?;
    }
    fs::write(staging.path().join("VERSION"), format!("{} ({})\n", offer.version, offer.suite))
        .with_context(|| format!("cannot write the version of {generation}"))?;
    verify(&bin).with_context(|| format!("containerd {} does not run on this machine", offer.version))?;
    let to = directory(deps, generation);
    staging.publish(&to)?;
    println!("deps: containerd {} is in {}", offer.version, to.display());
    Ok(())
}

fn verify(bin: &Path) -> Result<()> {
    for program in PROGRAMS {
        let said = shell::output(Command::new(bin.join(program)).arg("-v"))?;
        let version = said.split_whitespace().collect::<Vec<_>>().join(" ");
        println!("deps:   {version}");
    }
    Ok(())
}

fn by_hand(deps: &Path) -> String {
    format!(
        "the shims of other containerd generations, which only the tests need, could not be fetched.\n\
         Put the programs of those releases (that run on this system) here:\n{}",
        places(deps)
    )
}

/// Where each generation belongs, one per line.
pub(crate) fn places(deps: &Path) -> String {
    let place =
        |name| format!("    {}/{{{}}}", directory(deps, name).join("bin").display(), PROGRAMS.join(","));
    GENERATIONS.map(place).join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offers(list: &[(&'static str, &str)]) -> Vec<Offer> {
        list.iter().map(|(suite, version)| Offer { suite, version: (*version).to_owned() }).collect()
    }

    #[test]
    fn its_own_generation_is_taken() {
        let list = offers(&[("trixie", "1.7.24~ds1-6"), ("forky", "1.7.28~ds1-1"), ("sid", "2.1.9~ds1-1")]);
        assert_eq!(choose("1.7", list.iter()), Some(0));
        assert_eq!(choose("2.1", list.iter()), Some(2));
    }

    #[test]
    fn a_newer_minor_serves_only_for_the_newest() {
        let list = offers(&[("trixie", "1.8.1"), ("forky", "2.3.0-1"), ("sid", "2.12.0-1")]);
        assert_eq!(choose("1.7", list.iter()), None);
        assert_eq!(choose("2.1", list.iter()), Some(2));
        assert_eq!(choose("2.1", offers(&[("sid", "3.0.1")]).iter()), None);
    }

    #[test]
    fn a_longer_number_is_not_the_same() {
        assert!(!is_of("1.7", "1.70.1"));
        assert!(is_of("1.7", "1.7.24~ds1-6+deb13u1"));
        assert!(!is_of("1.7", "unknown"));
    }
}
