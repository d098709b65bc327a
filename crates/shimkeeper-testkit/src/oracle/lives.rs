// SPDX-License-Identifier: Apache-2.0
//! Whether what was published makes lives. An id's lives come one after another; each begins with a create and ends
//! with a delete, and between them every process was made, started and ended once, in this order, and nothing began
//! or ended after init did.
//!
//! A manager that is killed may take with it what it had published and nobody had read, and the next one may say again
//! what it cannot know to have been heard. So over a [`Lives::interrupted`] an event may be missing, and may come
//! again if it says the same; a different status, or a step back, is a violation there too.

use std::collections::BTreeMap;
use std::fmt;

use shimkeeper_core::{ProcessKey, TaskKey};

use super::life::{Seen, Step, word};

/// Something that must not be.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Violation(pub String);

/// The lives of ids so far. It keeps what is not over, and the last end of every id.
#[derive(Debug, Default)]
pub struct Lives {
    open: BTreeMap<TaskKey, Life>,
    /// How the last life of an id ended.
    ended: BTreeMap<TaskKey, (u32, u32)>,
    /// Whether a manager was ever killed: then an id may begin in the middle.
    was_interrupted: bool,
}

/// One life of an id.
#[derive(Clone, Debug, Default)]
struct Life {
    processes: BTreeMap<ProcessKey, Process>,
    told: Vec<String>,
    /// Whether a manager was killed in the meantime.
    interrupted: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Process {
    step: Step,
    /// Its pid and status.
    end: Option<(u32, u32)>,
}

/// Fails unless `events` are lives, all of them over.
///
/// # Panics
/// That is how it fails.
#[track_caller]
pub fn complete(events: &[Seen]) {
    let mut lives = Lives::default();
    let whole = events.iter().try_for_each(|seen| lives.see(seen)).and_then(|()| lives.all_over());
    whole.unwrap_or_else(|violation| panic!("{violation}\nin {events:#?}"));
}

// === impl Lives ===

impl Lives {
    /// Takes the next event in.
    ///
    /// # Errors
    /// [`Violation`] if it cannot come after those before it.
    pub fn see(&mut self, seen: &Seen) -> Result<(), Violation> {
        let Some((process, step)) = seen.step() else { return Ok(()) };
        let begins = process == ProcessKey::Init && step == Step::Made;
        let mut life = match self.open.remove(&seen.key) {
            // The deletion of the life before was published to nobody.
            Some(life) if begins && life.interrupted => Life { interrupted: true, ..Life::default() },
            Some(life) => life,
            None if begins => Life::default(),
            None if !self.was_interrupted => {
                return Err(Violation(format!("{}: {} before it was created", seen.key, word(&seen.event))));
            }
            None if seen.end().is_some() && self.ended.get(&seen.key).copied() == seen.end() => return Ok(()),
            None => Life { interrupted: true, ..Life::default() },
        };
        life.told.push(word(&seen.event));
        life.see(seen, &process, step).map_err(|what| life.violation(&seen.key, &what))?;
        if process == ProcessKey::Init && step == Step::Deleted {
            self.ended.extend(seen.end().map(|end| (seen.key.clone(), end)));
            return life.is_settled().map_err(|what| life.violation(&seen.key, &what));
        }
        self.open.insert(seen.key.clone(), life);
        Ok(())
    }

    /// The manager was killed: what it published may be unread, and what it did not note down may come again.
    pub fn interrupted(&mut self) {
        self.was_interrupted = true;
        self.open.values_mut().for_each(|life| life.interrupted = true);
    }

    /// Whether every life is over.
    ///
    /// # Errors
    /// [`Violation`] naming one that is not and cannot have ended unheard.
    pub fn all_over(&self) -> Result<(), Violation> {
        let unfinished = self.open.iter().find(|(_, life)| !life.interrupted);
        unfinished.map_or(Ok(()), |(key, life)| Err(life.violation(key, "no deletion")))
    }
}

// === impl Life ===

impl Life {
    fn see(&mut self, seen: &Seen, process: &ProcessKey, step: Step) -> Result<(), String> {
        let init_ended = self.processes.get(&ProcessKey::Init).is_some_and(|init| init.step >= Step::Exited);
        let before = self.processes.entry(process.clone()).or_default();
        if seen.end().is_some() && before.end.is_some() && before.end != seen.end() {
            return Err(format!("{process} ends twice, {:?} and {:?}", before.end, seen.end()));
        }
        let is_init = *process == ProcessKey::Init;
        // An exec's id is used again once it is deleted, or was never started, which nobody is told; nor is its exit,
        // when the manager was killed.
        let is_new = step == Step::Made && !is_init && (before.step != Step::Started || self.interrupted);
        let is_repeated =
            self.interrupted && step <= before.step && (step == before.step || step >= Step::Exited);
        if is_repeated {
            return Ok(());
        }
        // What a shim could not send while there was no manager it sends again later, in any order.
        if init_ended && step != Step::Deleted && !self.interrupted {
            return Err("something begins or ends after init did".into());
        }
        if before.step >= step && !is_new {
            return Err(format!("{process} was told to be {step:?} when it was {:?}", before.step));
        }
        if step == Step::Deleted && before.step == Step::Started && !self.interrupted {
            return Err(format!("{process} is deleted and has no exit"));
        }
        // A container whose init is killed before it starts has an exit; an exec that never started has none.
        if step == Step::Exited && before.step < Step::Started && !is_init && !self.interrupted {
            return Err(format!("{process} ends and was never started"));
        }
        *before = Process { step, end: if is_new { None } else { seen.end().or(before.end) } };
        Ok(())
    }

    /// Nothing is owed any more.
    fn is_settled(&self) -> Result<(), String> {
        let mut owed = self.processes.iter().filter(|(_, process)| process.step == Step::Started);
        match owed.next() {
            Some((process, _)) if !self.interrupted => Err(format!("{process} has no exit")),
            _ => Ok(()),
        }
    }

    fn violation(&self, key: &TaskKey, what: &str) -> Violation {
        Violation(format!("{key}: {what}; it was told {:?}", self.told))
    }
}

impl fmt::Debug for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use shimkeeper_events::TaskEvent;

    use super::*;

    /// `c` create, `s` start, `x` exit, `d` delete, in capitals with another status; `a b y` added, started and exit
    /// of an exec, `|` a manager that is killed.
    fn told(story: &str) -> Result<(), Violation> {
        let mut lives = Lives::default();
        let exec = || "e".parse().unwrap();
        let at = SystemTime::UNIX_EPOCH;
        for letter in story.chars() {
            let event = match letter {
                'c' => TaskEvent::Create { pid: 7, bundle: String::new(), checkpoint: String::new() },
                's' => TaskEvent::Start { pid: 7 },
                'x' => TaskEvent::Exit { process: ProcessKey::Init, pid: 7, status: 0, at },
                'X' => TaskEvent::Exit { process: ProcessKey::Init, pid: 7, status: 255, at },
                'd' => TaskEvent::Delete { process: ProcessKey::Init, pid: 7, status: 0, at },
                'D' => TaskEvent::Delete { process: ProcessKey::Init, pid: 7, status: 255, at },
                'a' => TaskEvent::ExecAdded { exec: exec() },
                'b' => TaskEvent::ExecStarted { exec: exec(), pid: 8 },
                'y' => TaskEvent::Exit { process: ProcessKey::Exec(exec()), pid: 8, status: 1, at },
                _ => {
                    lives.interrupted();
                    continue;
                }
            };
            lives.see(&Seen { key: TaskKey::parse("ns", "a").unwrap(), event })?;
        }
        lives.all_over()
    }

    #[test]
    fn lives_in_order_are_lives() {
        for story in ["", "csxd", "csabyxd", "cxd", "cd", "csabyabyxd", "csaxd", "csxdcsxd"] {
            told(story).unwrap();
        }
    }

    #[test]
    fn what_is_missing_doubled_or_too_late_is_seen() {
        for story in [
            "c", "csx", "sxd", "csd", "ccsxd", "csxxd", "csxDd", "csXd", "csabxyd", "csabxd", "csxsd",
            "csxabyd", "csyxd", "csxdd",
        ] {
            told(story).expect_err(story);
        }
    }

    #[test]
    fn a_killed_manager_may_say_it_again_and_nothing_else() {
        for story in [
            "csx|xd",
            "csxd|d",
            "cs|d",
            "cs|",
            "c|sxd",
            "cs|csxd",
            "csabyx|yxd",
            "|sxd",
            "csxd|csxd",
            "cs|sxd",
            "csab|abyxd",
            "csa|xabyd",
        ] {
            told(story).unwrap();
        }
        for story in ["csx|Xd", "csx|sd", "csx|D", "csxd|c", "cs|xdcxx"] {
            told(story).expect_err(story);
        }
    }
}
