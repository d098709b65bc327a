// SPDX-License-Identifier: Apache-2.0
//! The mark that every launched process carries in its environment, and by which it is found again when nothing
//! else is left of the launch: no pid, no socket, no file.
//!
//! An environment is in its process's memory, which may not be to be read ([`Reader`]). Who can be told from the kernel's
//! own tables not to be of the launch is not read, or at least not doubted.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::{fs, iter};

use shimkeeper_core::{HasKind as _, Incarnation, Kind};

use super::reader::Reader;
use super::{BootId, IdentityError, MAX_GENERATIONS, ProcessIdentity, Stat, processes, stat, ticks};

/// The variable. Its value is the incarnation.
pub(crate) const MARK: &str = "SHIMKEEPER_LAUNCH";

/// The file that says what environment a process was started with.
const ENVIRON: &str = "environ";

/// A launch: what its processes carry, and since when there can be any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The mark.
    pub mark: Incarnation,
    /// Nothing of it was started before this, in clock ticks after the boot. 0 if that is not known.
    pub since: u64,
}

/// What came of looking for processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Those that were looked for.
    pub found: Vec<ProcessIdentity>,
    /// Those that may be, too: they stand still, or there is no descriptor to look at them with, and nothing else tells.
    pub unknown: Vec<ProcessIdentity>,
}

/// The processes of the machine, at one moment.
struct Table(HashMap<u32, Stat>);

impl Launch {
    /// One that begins now.
    pub fn now(mark: Incarnation) -> Self {
        Self { mark, since: ticks() }
    }

    /// Whether this process is of the launch by the kernel's own tables: it was started since, and works in `bundle`, where
    /// nobody else has any business. `false` proves nothing.
    pub fn has(&self, process: &ProcessIdentity, bundle: &Path) -> bool {
        let works_there =
            || fs::read_link(format!("/proc/{}/cwd", process.pid)).is_ok_and(|cwd| cwd == bundle);
        self.since > 0
            && self.since <= process.start_time
            && works_there()
            && matches!(process.is_there(), Ok(true))
    }
}

/// Every process of this launch: that was launched for it, or descends from one that was and has kept its environment.
/// This process is never among them. `others` are shims of other launches: what they have started is of none but theirs.
/// Blocking, but not for ever.
///
/// A process can change what is seen here, so the mark finds those that are ours, and proves nothing about
/// others. What cannot be read for want of privileges, or because it ends meanwhile, is left out.
///
/// # Errors
/// [`IdentityError`] if it cannot be found out which processes there are, as when no file may be opened any more.
pub fn find_by_mark(launch: &Launch, others: &[ProcessIdentity]) -> Result<Findings, IdentityError> {
    let mut reader = Reader::default();
    let boot_id = BootId::current()?;
    Ok(Table::now()?.sort_out(launch, others, boot_id, |process| reader.read(process, ENVIRON)))
}

/// The mark that this process carries, whoever launched it; none if that cannot be seen. Of several the first counts, as
/// everywhere. Blocking, but not for ever.
pub fn mark_of(process: &ProcessIdentity) -> Option<Incarnation> {
    let environ = Reader::default().read(process, ENVIRON)?;
    let mark = |entry: &[u8]| entry.strip_prefix(MARK.as_bytes())?.strip_prefix(b"=").map(<[u8]>::to_vec);
    std::str::from_utf8(&environ.split(|b| *b == 0).find_map(mark)?).ok()?.parse().ok()
}

fn has(environ: &[u8], wanted: &[u8]) -> bool {
    environ.split(|b| *b == 0).any(|entry| entry == wanted)
}

// === impl Table ===

impl Table {
    fn now() -> Result<Self, IdentityError> {
        let mut table = HashMap::new();
        for pid in processes()? {
            match stat(pid) {
                Ok(Some(stat)) => drop(table.insert(pid, stat)),
                Err(error) if error.kind() != Kind::PermissionDenied => return Err(error),
                Ok(None) | Err(_) => {}
            }
        }
        Ok(Self(table))
    }

    /// Tells who is of a launch, by environments that can be read or not.
    fn sort_out(
        &self,
        launch: &Launch,
        others: &[ProcessIdentity],
        boot_id: BootId,
        mut environment: impl FnMut(&ProcessIdentity) -> Option<Vec<u8>>,
    ) -> Findings {
        let wanted = format!("{MARK}={}", launch.mark);
        let others: HashSet<u32> =
            others.iter().filter(|other| self.is_apart(other)).map(|other| other.pid).collect();
        let is_older = |pid: &u32| self.0[pid].start_time < launch.since;
        let mut apart: HashSet<u32> = others.iter().copied().filter(is_older).collect();
        let (mut unmarked, mut findings) = (HashSet::new(), Findings::default());
        for process in self.candidates(launch, boot_id) {
            if self.above(process.pid).any(|above| apart.contains(&above)) {
                continue;
            }
            match environment(&process) {
                None => findings.unknown.push(process),
                Some(environ) if has(&environ, wanted.as_bytes()) => findings.found.push(process),
                Some(_) if others.contains(&process.pid) => drop(apart.insert(process.pid)),
                // Of one that is just becoming another program nothing is known yet.
                Some(environ) if !environ.is_empty() => drop(unmarked.insert(process.pid)),
                Some(_) => {}
            }
        }
        // Whoever is above a process of the launch is of it as well, or was there before.
        if launch.since > 0 {
            apart.extend(unmarked);
        }
        findings.unknown.retain(|process| !self.above(process.pid).any(|above| apart.contains(&above)));
        findings
    }

    /// Those that may be of this launch, parents before their children: so that the shims of containers are read before
    /// what is in these.
    fn candidates(&self, launch: &Launch, boot_id: BootId) -> Vec<ProcessIdentity> {
        let may_be = |(pid, stat): &(&u32, &Stat)| {
            stat.start_time >= launch.since && !stat.has_ended() && **pid != std::process::id()
        };
        let identity =
            |(pid, stat): (&u32, &Stat)| ProcessIdentity { pid: *pid, start_time: stat.start_time, boot_id };
        let mut candidates: Vec<_> = self.0.iter().filter(may_be).map(identity).collect();
        candidates.sort_by_cached_key(|process| (self.above(process.pid).count(), process.start_time));
        candidates
    }

    /// Whether it is there, and neither we nor a launch before us can descend from it.
    fn is_apart(&self, process: &ProcessIdentity) -> bool {
        let is_there = self.0.get(&process.pid).is_some_and(|stat| stat.start_time == process.start_time);
        is_there
            && process.pid > 1
            && process.pid != std::process::id()
            && !self.above(std::process::id()).any(|above| above == process.pid)
    }

    /// Its parent, the parent of that, …
    fn above(&self, pid: u32) -> impl Iterator<Item = u32> {
        let parent = |pid: &u32| {
            let child = self.0.get(pid)?;
            // Whoever is younger has the pid of a parent that has gone.
            self.0.get(&child.parent).filter(|parent| parent.start_time <= child.start_time)?;
            Some(child.parent)
        };
        iter::successors(parent(&pid), parent).take(MAX_GENERATIONS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAUNCH: u64 = 100;

    /// Processes by pid, parent and start.
    fn table(processes: &[(u32, u32, u64)]) -> Table {
        let stat = |parent, start_time| Stat { state: b'S', parent, threads: 1, start_time, exit_code: 0 };
        Table(processes.iter().map(|(pid, parent, start)| (*pid, stat(*parent, *start))).collect())
    }

    fn process(table: &Table, pid: u32) -> ProcessIdentity {
        ProcessIdentity { pid, start_time: table.0[&pid].start_time, boot_id: BootId::current().unwrap() }
    }

    /// Whom a search finds and cannot tell, and whom it reads, where these carry the mark and those stand still.
    fn search(
        table: &Table,
        since: u64,
        others: &[u32],
        marked: &[u32],
        stuck: &[u32],
    ) -> (Vec<u32>, Vec<u32>, Vec<u32>) {
        let launch = Launch { mark: Incarnation::fresh(), since };
        let others: Vec<_> = others.iter().map(|pid| process(table, *pid)).collect();
        let mut read = Vec::new();
        let findings = table.sort_out(&launch, &others, BootId::current().unwrap(), |process| {
            read.push(process.pid);
            let mark = if marked.contains(&process.pid) { launch.mark } else { Incarnation::fresh() };
            (!stuck.contains(&process.pid)).then(|| format!("A=b\0{MARK}={mark}\0").into_bytes())
        });
        let pids =
            |processes: Vec<ProcessIdentity>| processes.into_iter().map(|process| process.pid).collect();
        (pids(findings.found), pids(findings.unknown), read)
    }

    #[test]
    fn who_was_there_before_the_launch_is_not_read() {
        let table = table(&[(1, 0, 0), (2, 1, 99), (3, 1, 100), (4, 2, 101)]);
        assert_eq!(search(&table, LAUNCH, &[], &[2, 3], &[2]), (vec![3], vec![], vec![3, 4]));
        assert_eq!(search(&table, LAUNCH, &[], &[], &[3, 4]), (vec![], vec![3, 4], vec![3, 4]));
    }

    #[test]
    fn what_a_shim_of_another_launch_started_is_not_read() {
        // An older shim and a younger one, each with a container.
        let table =
            table(&[(1, 0, 0), (10, 1, 50), (11, 10, 150), (20, 1, 120), (21, 20, 121), (22, 21, 122)]);
        let stuck = [11, 21, 22];
        assert_eq!(search(&table, LAUNCH, &[10, 20], &[], &stuck), (vec![], vec![], vec![20]));
        assert_eq!(search(&table, 0, &[10, 20], &[], &stuck), (vec![], vec![], vec![1, 10, 20]));
        // One that was launched for it after all, and serves another.
        assert_eq!(search(&table, LAUNCH, &[20], &[20, 22], &[21]).0, [20, 22]);
        // The first of all processes is above everybody.
        assert_eq!(search(&table, LAUNCH, &[1], &[], &[11]).1, [11]);
        // A pid that is another's by now.
        let stale = ProcessIdentity { start_time: 49, ..process(&table, 10) };
        assert!(table.is_apart(&process(&table, 10)) && !table.is_apart(&stale));
    }

    #[test]
    fn who_stands_still_is_told_by_who_is_above() {
        let table = table(&[(1, 0, 0), (10, 1, 110), (11, 10, 111), (12, 11, 112), (20, 1, 120)]);
        // By its parent's parent, which has no mark.
        assert!(search(&table, LAUNCH, &[], &[], &[11, 12]).1.is_empty());
        assert_eq!(search(&table, LAUNCH, &[], &[10], &[11, 12]).1, [11, 12]);
        assert_eq!(
            search(&table, LAUNCH, &[], &[], &[10, 20]).1,
            [10, 20],
            "nobody started since is above them"
        );
        assert_eq!(search(&table, 0, &[], &[], &[12]).1, [12], "who is above may have been there before");
        // Whose parent has gone, and its pid to somebody younger.
        let table = self::table(&[(1, 0, 0), (10, 1, 130), (11, 10, 111)]);
        assert_eq!(search(&table, LAUNCH, &[], &[], &[11]).1, [11]);
    }

    #[test]
    fn parents_are_read_first() {
        let table = table(&[(1, 0, 0), (9, 8, 110), (8, 1, 110), (7, 9, 111), (30, 1, 140)]);
        assert_eq!(search(&table, LAUNCH, &[], &[], &[]).2, [8, 30, 9, 7]);
    }
}
