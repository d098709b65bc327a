// SPDX-License-Identifier: Apache-2.0
//! Finding the shim of a bundle that another manager left: by what it was started with, and by the socket it listens on.
//!
//! Shims are started with `-namespace NS -id ID` (their server too, which re-executes itself with the same flags), so
//! the command line tells whose a process is where no record does. It is in the process's memory, which may not be to be
//! read ([`Reader`]); so only those are asked for it that work in a bundle.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use shimkeeper_core::TaskKey;

use super::reader::Reader;
use super::{Findings, IdentityError, ProcessIdentity, REMOVED, processes};
use crate::{Bundle, StateDirs};

/// Flag of `/proc/net/unix` for a socket that accepts connections.
const LISTENS: &str = "00010000";

/// The processes that work in bundles and were started as shims, as they were at one moment: the table of processes is
/// read once for many bundles.
#[derive(Debug, Default)]
pub struct ShimProcesses(Vec<ShimProcess>);

#[derive(Debug)]
struct ShimProcess {
    identity: ProcessIdentity,
    /// None if it cannot be seen.
    command: Option<Vec<u8>>,
    dir: PathBuf,
}

impl ShimProcesses {
    /// Those there are now in bundles of these directories. Blocking, but not for ever.
    ///
    /// # Errors
    /// [`IdentityError`] if it cannot be found out which there are, as when no file may be opened any more.
    pub fn now(dirs: &[&StateDirs]) -> Result<Self, IdentityError> {
        let mut reader = Reader::default();
        let found =
            processes()?.into_iter().filter_map(|pid| ShimProcess::of(pid, dirs, &mut reader).transpose());
        found.collect::<Result<_, _>>().map(Self)
    }

    /// Every process that was started as the shim of this bundle, with its namespace and id and in its directory, and
    /// is alive. Another manager may have a task of the same name, so the name alone says nothing. One that only looks
    /// like it proves nothing either, and a shim that several tasks share is found by one of them only.
    pub fn of(&self, bundle: &Bundle) -> Findings {
        let mut findings = Findings::default();
        for process in self.0.iter().filter(|process| process.dir == bundle.dir()) {
            let into = match &process.command {
                None => &mut findings.unknown,
                Some(command) if is_shim_of(bundle.key(), command) => &mut findings.found,
                Some(_) => continue,
            };
            // Where that cannot be found out, it may live.
            if process.identity.is_alive().unwrap_or(true) {
                into.push(process.identity);
            }
        }
        findings
    }
}

impl ShimProcess {
    fn of(pid: u32, dirs: &[&StateDirs], reader: &mut Reader) -> Result<Option<Self>, IdentityError> {
        let Ok(dir) = fs::read_link(format!("/proc/{pid}/cwd")) else { return Ok(None) };
        if !dirs.iter().any(|dirs| dir.starts_with(dirs.bundles_dir())) {
            return Ok(None);
        }
        let Some(identity) = ProcessIdentity::of(pid)? else { return Ok(None) };
        let command = reader.read(&identity, "cmdline");
        Ok(command.as_deref().is_none_or(is_shim).then_some(Self { identity, command, dir }))
    }
}

/// Whether the program's name is that of a shim.
fn is_shim(command: &[u8]) -> bool {
    command.split(|b| *b == 0).next().is_some_and(|program| program.windows(4).any(|w| w == b"shim"))
}

fn is_shim_of(key: &TaskKey, command: &[u8]) -> bool {
    let words: Vec<&[u8]> = command.split(|b| *b == 0).collect();
    let follows = |flag: &[u8], value: &str| {
        words
            .windows(2)
            .any(|pair| pair[0].strip_prefix(b"-").is_some_and(|f| f == flag) && pair[1] == value.as_bytes())
    };
    let is_helper = words.iter().any(|word| matches!(*word, b"start" | b"delete"));
    is_shim(command)
        && follows(b"namespace", key.namespace.as_str())
        && follows(b"id", key.id.as_str())
        && !is_helper
}

/// The path of the program that this process runs. Another file may have it by now: one that was replaced is told by the name
/// it had.
pub fn program(pid: u32) -> Option<PathBuf> {
    let mut path = fs::read_link(format!("/proc/{pid}/exe")).ok()?.into_os_string().into_vec();
    if path.ends_with(REMOVED) {
        path.truncate(path.len() - REMOVED.len());
    }
    Some(OsString::from_vec(path).into())
}

/// The path of the socket this process accepts connections on; `None` unless there is exactly one. A socket for
/// debugging, which shims keep beside it as `…/debug`, does not count.
pub fn listening_socket(pid: u32) -> Option<PathBuf> {
    let inodes: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .ok()?
        .filter_map(|entry| {
            let target = fs::read_link(entry.ok()?.path()).ok()?.into_os_string().into_string().ok()?;
            Some(target.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        })
        .collect();
    // Seen from the process itself: it may be in another network namespace than we are.
    let table = fs::read(format!("/proc/{pid}/net/unix")).ok()?;
    let mut paths =
        listening(&table).filter(|(inode, _)| inodes.iter().any(|i| i == inode)).map(|(_, path)| path);
    match (paths.next(), paths.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

/// Inode and path of every listening socket in the kernel's table.
fn listening(table: &[u8]) -> impl Iterator<Item = (&str, PathBuf)> {
    table.split(|b| *b == b'\n').skip(1).filter_map(|line| {
        // Inodes are padded with blanks; a path with several in a row is not found, which is no harm.
        let words: Vec<&[u8]> = line.split(|b| *b == b' ').filter(|word| !word.is_empty()).collect();
        let [_, _, _, flags, _, _, inode, path @ ..] = words.as_slice() else { return None };
        let path = path.join(&b' ');
        if *flags != LISTENS.as_bytes() || !path.starts_with(b"/") || path.ends_with(b"/debug") {
            return None;
        }
        Some((std::str::from_utf8(inode).ok()?, PathBuf::from(std::ffi::OsString::from_vec(path))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shim_is_known_by_its_flags_and_its_helpers_are_not() {
        let key = TaskKey::parse("ns", "web").unwrap();
        let line = |text: &str| text.replace(' ', "\0").into_bytes();
        let yes = "/usr/bin/containerd-shim-runc-v2 -namespace ns -id web -address /run/x.sock";
        assert!(is_shim_of(&key, &line(yes)));
        for no in [
            "/usr/bin/containerd-shim-runc-v2 -namespace ns -id web -address /run/x.sock start",
            "/usr/bin/containerd-shim-runc-v2 -namespace ns -id web2 -address /run/x.sock",
            "/usr/bin/containerd-shim-runc-v2 -namespace other -id web",
            "/bin/cat -namespace ns -id web",
            "",
        ] {
            assert!(!is_shim_of(&key, &line(no)), "{no}");
        }
    }

    #[test]
    fn the_socket_of_a_process_is_found() {
        let dir = tempfile::Builder::new().prefix("shimkeeper-").tempdir().unwrap();
        let path = dir.path().join("a socket");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let found: Vec<_> = listening(&fs::read("/proc/self/net/unix").unwrap()).map(|(_, p)| p).collect();
        assert!(found.contains(&path), "{found:?}");
        assert_eq!(listening_socket(std::process::id()).as_deref(), Some(path.as_path()));
    }
}
