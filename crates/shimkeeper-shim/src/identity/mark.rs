// SPDX-License-Identifier: Apache-2.0
//! The mark that every launched process carries in its environment, and by which it is found again when nothing
//! else is left of the launch: no pid, no socket, no file.

use std::fs;

use shimkeeper_core::Incarnation;

use super::{ProcessIdentity, read_virtual};

/// The variable. Its value is the incarnation.
pub(crate) const MARK: &str = "SHIMKEEPER_LAUNCH";

/// How much of a process' environment is searched, in bytes; the kernel allows a few MiB.
const MAX_ENVIRON: u64 = 8 << 20;

/// Every process that was launched for this incarnation, or descends from one that was and has kept its
/// environment. This process is never among them.
///
/// A process can change what is seen here, so the mark finds those that are ours, and proves nothing about
/// others. What cannot be read, for want of privileges or because it ends meanwhile, is left out.
pub fn find_by_mark(incarnation: Incarnation) -> Vec<ProcessIdentity> {
    let wanted = format!("{MARK}={incarnation}");
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != std::process::id())
        .filter_map(|pid| marked(pid, wanted.as_bytes()))
        .collect()
}

/// Whether exactly this process carries the mark of this launch.
pub fn carries_mark(process: &ProcessIdentity, incarnation: Incarnation) -> bool {
    is_marked(process, format!("{MARK}={incarnation}").as_bytes())
}

/// The mark that this process carries, whoever launched it. Of several the first counts, as everywhere.
pub fn mark_of(process: &ProcessIdentity) -> Option<Incarnation> {
    let mark = |entry: &[u8]| entry.strip_prefix(MARK.as_bytes())?.strip_prefix(b"=").map(<[u8]>::to_vec);
    std::str::from_utf8(&in_environment(process, mark)?).ok()?.parse().ok()
}

fn marked(pid: u32, wanted: &[u8]) -> Option<ProcessIdentity> {
    ProcessIdentity::of(pid).ok()?.filter(|process| is_marked(process, wanted))
}

fn is_marked(process: &ProcessIdentity, wanted: &[u8]) -> bool {
    in_environment(process, |entry| (entry == wanted).then_some(())).is_some()
}

/// What is looked for in its environment, if that is there.
fn in_environment<T>(process: &ProcessIdentity, look: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
    let environ = read_virtual(format!("/proc/{}/environ", process.pid), MAX_ENVIRON).ok()?;
    let found = environ.split(|b| *b == 0).find_map(look)?;
    // Compared after that: the pid may have gone to another process before it.
    matches!(ProcessIdentity::of(process.pid), Ok(Some(now)) if now == *process).then_some(found)
}
