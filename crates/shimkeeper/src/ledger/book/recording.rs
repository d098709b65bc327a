// SPDX-License-Identifier: Apache-2.0
//! What a record on disk says of a book. That an end has been told stands there only once the journal has it: till then
//! the next manager has to tell it again, or whoever reads by number would never hear of it.

use super::{Book, MOST_FOUND, Phase, Process, Told, UnderWay};
use crate::rare::Rare;

impl Book {
    /// The book without what no record says, so that nothing else makes a record new.
    pub(crate) fn as_recorded(&self) -> Self {
        Self {
            init: self.init.as_recorded(),
            made: self.made,
            execs: self.execs.iter().map(|(id, exec)| (id.clone(), exec.as_recorded())).collect(),
            deleted_told: self.deleted_told,
            finished: false,
            forgotten: Rare::NONE,
        }
    }

    /// The same while the journal may not have all that was told: no end is told that is not told in the record already,
    /// and no exec is gone whose end is still to be.
    pub(crate) fn hold_back(mut self, recorded: &Self) -> Self {
        self.deleted_told = recorded.deleted_told;
        self.init.hold_back(Some(&recorded.init));
        for (id, exec) in &mut self.execs {
            exec.hold_back(recorded.execs.get(id));
        }
        for (id, exec) in &recorded.execs {
            // More than so many wait for no disk.
            if exec.owes_its_end() && self.execs.len() < MOST_FOUND {
                self.execs.entry(id.clone()).or_insert_with(|| exec.clone());
            }
        }
        self
    }

    /// Whether an exec whose end is still to be told by the record has lost its id to another one.
    pub(crate) fn displaces_an_end(&self, recorded: &Self) -> bool {
        let is_displaced = |(id, exec): (_, &Process)| {
            exec.owes_its_end() && self.execs.get(id).is_some_and(|now| now.exit != exec.exit)
        };
        recorded.execs.iter().any(is_displaced)
    }
}

impl Process {
    fn as_recorded(&self) -> Self {
        let phase = match self.phase {
            Phase::Made | Phase::Failed => Phase::Made,
            // A start that was begun: after a restart nobody knows how it went on.
            Phase::Starting | Phase::Unsure => Phase::Unsure,
            Phase::Started => Phase::Started,
        };
        Self { phase, in_doubt: false, under_way: UnderWay::default(), waits: false, ..self.clone() }
    }

    fn hold_back(&mut self, recorded: Option<&Self>) {
        let is_recorded =
            recorded.is_some_and(|recorded| recorded.told == Told::Exited && recorded.exit == self.exit);
        if self.told == Told::Exited && !is_recorded {
            // What comes before an end is told with it, or never will be.
            self.told = Told::Started;
        }
    }

    fn owes_its_end(&self) -> bool {
        self.was_started() && self.exit.is_some() && self.told < Told::Exited
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use shimkeeper_core::{Exit, ProcessKey, Provenance};

    use super::*;

    fn exit(pid: u32) -> Exit {
        Exit { pid, status: 3, at: SystemTime::UNIX_EPOCH, provenance: Provenance::Observed }
    }

    fn x() -> ProcessKey {
        ProcessKey::Exec("x".parse().unwrap())
    }

    /// A running task with an exec that has ended, as it is on record.
    fn recorded() -> Book {
        let mut book = Book { made: true, ..Book::default() };
        book.add_exec(&"x".parse().unwrap()).unwrap();
        for (process, pid) in [(ProcessKey::Init, 1), (x(), 2)] {
            book.set_phase(&process, Phase::Started, Some(pid));
            book.supply_up_to(&process, Told::Started);
        }
        book.record_exit(&x(), exit(2));
        book
    }

    #[test]
    fn an_end_is_told_in_the_record_when_it_is_kept_and_not_before() {
        let before = recorded();
        let mut now = before.clone();
        assert_eq!(now.announce_exit(&x()).len(), 1);
        now.record_exit(&ProcessKey::Init, exit(1));
        assert_eq!(now.finish().len(), 2);
        let held = now.as_recorded().hold_back(&before);
        assert_eq!((held.init.told, held.process(&x()).unwrap().told), (Told::Started, Told::Started));
        assert_eq!((held.init.exit, held.deleted_told), (Some(exit(1)), false), "all else is as it is");
        assert_eq!(held.clone().finish().len(), 3, "so that the next manager tells all of it");

        let kept = now.as_recorded();
        assert_eq!((kept.init.told, kept.deleted_told), (Told::Exited, true));
        assert_eq!(now.as_recorded().hold_back(&kept), kept, "and it is never taken back");
    }

    #[test]
    fn a_deleted_exec_stays_until_its_end_is_kept() {
        let before = recorded();
        let mut now = before.clone();
        now.announce_exit(&x());
        now.remove_exec(&"x".parse().unwrap());
        let held = now.as_recorded().hold_back(&before);
        assert_eq!(held.process(&x()), before.process(&x()));
        assert!(!now.as_recorded().displaces_an_end(&before));
        assert!(now.as_recorded().process(&x()).is_none());

        now.add_exec(&"x".parse().unwrap()).unwrap();
        assert!(now.as_recorded().displaces_an_end(&before), "another one has its id");
        assert!(!now.as_recorded().displaces_an_end(&now.as_recorded()));
    }

    #[test]
    fn one_that_was_never_started_is_not_kept_for_an_end() {
        let mut before = Book { made: true, ..Book::default() };
        before.add_exec(&"x".parse().unwrap()).unwrap();
        let mut now = before.clone();
        now.remove_exec(&"x".parse().unwrap());
        assert!(now.as_recorded().hold_back(&before).process(&x()).is_none());
    }

    #[test]
    fn what_is_under_way_makes_no_record_new() {
        let before = recorded();
        let mut now = before.clone();
        now.take_watch(&ProcessKey::Init);
        now.set_deleting(&x(), true);
        now.add_exec(&"y".parse().unwrap()).unwrap();
        now.remove_exec(&"y".parse().unwrap());
        now.init.waits = true;
        assert_ne!(now, before);
        assert_eq!(now.as_recorded(), before.as_recorded());
    }
}
