// SPDX-License-Identifier: Apache-2.0
//! The rules by example, and under reports in any order, any number of times.

use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;
use shimkeeper_core::Provenance;

use super::*;

fn exit(pid: u32, status: u32) -> Exit {
    Exit { pid, status, at: UNIX_EPOCH + Duration::from_secs(9), provenance: Provenance::Observed }
}

fn exec(id: &str) -> ProcessKey {
    ProcessKey::Exec(id.parse().unwrap())
}

#[test]
fn an_honest_shim_is_passed_on_word_for_word() {
    let mut book = Book::default();
    let a = "a".parse::<ExecId>().unwrap();
    for fact in [
        Fact::Created { pid: 7 },
        Fact::Started { pid: 7 },
        Fact::ExecAdded(a.clone()),
        Fact::ExecStarted(a, 8),
        Fact::Exited(exec("a"), exit(8, 0)),
        Fact::Exited(ProcessKey::Init, exit(7, 3)),
        Fact::Deleted(ProcessKey::Init, exit(7, 3)),
    ] {
        assert_eq!(book.ingest(fact), [Notice::AsReported]);
    }
    assert!(book.finish().is_empty());
}

#[test]
fn a_second_exit_is_dropped_also_after_the_exec_was_deleted() {
    let mut book = Book::default();
    book.ingest(Fact::ExecStarted("a".parse().unwrap(), 8));
    assert_eq!(book.ingest(Fact::Exited(exec("a"), exit(8, 1))), [Notice::AsReported]);
    assert!(book.ingest(Fact::Exited(exec("a"), exit(8, 1))).is_empty());
    book.remove_exec(&"a".parse().unwrap());
    assert!(book.ingest(Fact::Exited(exec("a"), exit(8, 1))).is_empty());
}

#[test]
fn a_book_has_the_same_ends_whatever_else_is_told() {
    let mut book = Book::default();
    book.ingest(Fact::ExecStarted("a".parse().unwrap(), 8));
    let before = book.clone();
    assert!(book.has_same_ends(&Book::default()), "nothing has ended");
    book.record_exit(&exec("a"), exit(8, 1));
    assert!(!book.has_same_ends(&before) && !book.has_same_ends(&Book::default()));
    let with_end = book.clone();
    book.announce_exit(&exec("a"));
    assert!(book != with_end && book.has_same_ends(&with_end));
    book.record_exit(&ProcessKey::Init, exit(7, 0));
    assert!(!book.has_same_ends(&with_end));
}

#[test]
fn late_reports_of_a_deleted_exec_neither_revive_it_nor_touch_the_next_of_its_id() {
    let id: ExecId = "a".parse().unwrap();
    let late = || {
        [
            Fact::ExecAdded(id.clone()),
            Fact::ExecStarted(id.clone(), 8),
            Fact::Exited(exec("a"), exit(8, 1)),
            Fact::Exited(exec("a"), exit(0, 1)),
        ]
    };
    let mut book = Book::default();
    book.ingest(Fact::Started { pid: 7 });
    book.add_exec(&id).unwrap();
    book.set_phase(&exec("a"), Phase::Started, Some(8));
    book.record_exit(&exec("a"), exit(8, 1));
    assert_eq!(book.announce_exit(&exec("a")).len(), 3);
    book.remove_exec(&id);
    for fact in late() {
        assert!(book.ingest(fact).is_empty());
    }
    assert!(book.execs.is_empty());

    book.add_exec(&id).unwrap();
    for fact in &late()[1..3] {
        assert!(book.ingest(fact.clone()).is_empty());
    }
    assert_eq!(book.execs[&id], Process::NEW);
    assert_eq!(book.begin_start(&exec("a")), Ok(StartTurn::First));
}

#[test]
fn an_exit_that_overtakes_its_start_comes_after_it_in_public() {
    let mut book = Book::default();
    book.init.pid = 7;
    book.begin_start(&ProcessKey::Init).unwrap();
    let notices = book.ingest(Fact::Exited(ProcessKey::Init, exit(7, 0)));
    assert_eq!(notices, [Notice::Create { pid: 7 }, Notice::Start(ProcessKey::Init, 7), Notice::AsReported]);
    assert!(book.ingest(Fact::Started { pid: 7 }).is_empty());
}

#[test]
fn the_public_exit_is_the_one_that_wait_answered() {
    let mut book = Book::default();
    book.ingest(Fact::Started { pid: 7 });
    assert!(book.record_exit(&ProcessKey::Init, exit(7, 3)));
    let notices = book.ingest(Fact::Exited(ProcessKey::Init, exit(7, 255)));
    assert_eq!(notices, [Notice::Exit(ProcessKey::Init, exit(7, 3))]);
}

#[test]
fn an_exec_that_ends_was_started_also_if_nobody_answered() {
    let mut book = Book::default();
    book.ingest(Fact::Started { pid: 7 });
    book.add_exec(&"a".parse().unwrap()).unwrap();
    book.begin_start(&exec("a")).unwrap();
    book.set_phase(&exec("a"), Phase::Unsure, None);
    let notices = book.ingest(Fact::Exited(exec("a"), exit(8, 1)));
    assert_eq!(
        notices,
        [Notice::ExecAdded("a".parse().unwrap()), Notice::Start(exec("a"), 8), Notice::AsReported]
    );
}

#[test]
fn the_end_of_init_comes_after_those_of_its_execs_unless_they_take_too_long() {
    let mut book = Book::default();
    book.ingest(Fact::Started { pid: 7 });
    book.ingest(Fact::ExecStarted("a".parse().unwrap(), 8));
    book.ingest(Fact::ExecStarted("b".parse().unwrap(), 9));
    assert!(book.ingest(Fact::Exited(ProcessKey::Init, exit(7, 3))).is_empty());
    assert_eq!(book.ingest(Fact::Exited(exec("a"), exit(8, 1))), [Notice::AsReported]);
    let mut impatient = book.clone();
    assert_eq!(
        book.ingest(Fact::Exited(exec("b"), exit(9, 2))),
        [Notice::AsReported, Notice::Exit(ProcessKey::Init, exit(7, 3))]
    );
    assert!(book.announce_exit(&ProcessKey::Init).is_empty());

    assert!(impatient.announce_exit(&ProcessKey::Init).is_empty(), "it waits for the other one");
    let told = [Notice::Exit(ProcessKey::Init, exit(7, 3))];
    assert_eq!(impatient.clone().announce_init(), told, "and in the end no more");
    impatient.record_exit(&exec("b"), exit(9, 2));
    for notices in [impatient.announce_exit(&ProcessKey::Init), impatient.announce_init()] {
        assert!(
            notices.is_empty(),
            "who has recorded the exit of an exec tells it, once it is on disk: {notices:?}"
        );
    }
    assert_eq!(
        impatient.announce_exit(&exec("b")),
        [Notice::Exit(exec("b"), exit(9, 2)), Notice::Exit(ProcessKey::Init, exit(7, 3))]
    );
}

#[test]
fn an_exit_that_only_a_deletion_tells_is_taken_in_before_it_is_told() {
    let mut book = Book::default();
    book.ingest(Fact::Started { pid: 7 });
    assert!(!book.accept_deleted(&ProcessKey::Init, exit(6, 1)), "of an earlier life of the id");
    assert!(book.accept_deleted(&ProcessKey::Init, exit(7, 3)));
    assert!(!book.accept_deleted(&ProcessKey::Init, exit(7, 4)), "the first one counts");
    assert_eq!(book.ended(), [ProcessKey::Init]);
    let notices = book.ingest(Fact::Deleted(ProcessKey::Init, exit(7, 3)));
    assert_eq!(notices, [Notice::Exit(ProcessKey::Init, exit(7, 3)), Notice::AsReported]);
}

#[test]
fn what_a_dead_shim_said_of_an_exec_is_not_told_after_the_end_of_its_init() {
    let mut book = Book::default();
    book.ingest(Fact::Started { pid: 7 });
    book.add_exec(&"a".parse().unwrap()).unwrap();
    book.begin_start(&exec("a")).unwrap();
    book.set_phase(&exec("a"), Phase::Unsure, None);
    book.record_exit(&exec("a"), exit(0, 255));
    book.record_exit(&ProcessKey::Init, exit(7, 137));
    assert_eq!(book.announce_exits(), [Notice::Exit(ProcessKey::Init, exit(7, 137))]);
    for id in ["a", "b"] {
        assert!(book.ingest(Fact::ExecAdded(id.parse().unwrap())).is_empty());
        assert!(book.ingest(Fact::ExecStarted(id.parse().unwrap(), 8)).is_empty());
        assert!(!book.accept_exit(&exec(id), exit(8, 4)));
        assert!(book.ingest(Fact::Exited(exec(id), exit(8, 4))).is_empty());
    }
    assert_eq!(book.finish(), [Notice::Delete(exit(7, 137))]);
}

#[test]
fn a_delete_tells_the_status_that_the_exit_told() {
    let mut book = Book::default();
    book.init.pid = 7;
    assert!(book.ingest(Fact::Deleted(ProcessKey::Init, exit(7, 0))).is_empty(), "nobody knows how it ended");
    book.record_exit(&ProcessKey::Init, exit(7, 137));
    let mut later = book.clone();
    assert_eq!(book.finish(), [Notice::Create { pid: 7 }, Notice::Delete(exit(7, 137))]);

    let notices = later.ingest(Fact::Deleted(ProcessKey::Init, exit(7, 0)));
    assert_eq!(notices, [Notice::Delete(exit(7, 137))]);
}

#[test]
fn the_end_supplies_what_the_shim_left_out() {
    let mut book = Book::default();
    book.ingest(Fact::Started { pid: 7 });
    book.ingest(Fact::ExecStarted("a".parse().unwrap(), 8));
    assert_eq!(book.running(), [(exec("a"), 8), (ProcessKey::Init, 7)]);
    book.record_exit(&exec("a"), exit(8, 137));
    book.record_exit(&ProcessKey::Init, exit(7, 137));
    assert_eq!(
        book.finish(),
        [
            Notice::Exit(exec("a"), exit(8, 137)),
            Notice::Exit(ProcessKey::Init, exit(7, 137)),
            Notice::Delete(exit(7, 137))
        ]
    );
    assert!(book.finish().is_empty());
}

#[test]
fn a_task_that_was_never_made_ends_in_silence() {
    let mut book = Book::default();
    book.record_exit(&ProcessKey::Init, exit(0, 137));
    assert!(book.finish().is_empty());
}

#[test]
fn a_task_whose_shim_died_before_it_told_of_it_has_a_beginning_and_an_end() {
    let mut book = Book::default();
    book.init.pid = 7;
    book.record_exit(&ProcessKey::Init, exit(7, 137));
    assert_eq!(book.finish(), [Notice::Create { pid: 7 }, Notice::Delete(exit(7, 137))]);
}

#[test]
fn an_old_task_s_exit_is_not_the_new_one_s() {
    let mut book = Book::default();
    book.ingest(Fact::Started { pid: 7 });
    assert!(book.ingest(Fact::Exited(ProcessKey::Init, exit(6, 255))).is_empty());
    assert_eq!(book.init.exit, None);
}

#[test]
fn what_an_old_task_s_shim_said_last_does_not_touch_the_new_one() {
    let mut book = Book::default();
    book.init.pid = 7;
    for late in [
        Fact::Created { pid: 6 },
        Fact::Started { pid: 6 },
        Fact::Exited(ProcessKey::Init, exit(6, 0)),
        Fact::Deleted(ProcessKey::Init, exit(6, 0)),
    ] {
        assert!(book.ingest(late).is_empty());
    }
    assert_eq!((book.init.pid, book.init.told, book.deleted_told), (7, Told::Nothing, false));
}

#[test]
fn a_late_report_does_not_bring_a_deleted_exec_back() {
    let mut book = Book::default();
    let a = "a".parse::<ExecId>().unwrap();
    book.ingest(Fact::ExecStarted(a.clone(), 8));
    book.ingest(Fact::Exited(exec("a"), exit(8, 1)));
    book.remove_exec(&a);
    for late in
        [Fact::ExecAdded(a.clone()), Fact::ExecStarted(a.clone(), 8), Fact::Exited(exec("a"), exit(8, 1))]
    {
        assert!(book.ingest(late).is_empty());
    }
    assert!(book.execs.is_empty());
    book.add_exec(&a).unwrap();
    assert_eq!(book.ingest(Fact::ExecAdded(a)), [Notice::AsReported], "the id can be used again");
}

#[test]
fn a_shim_cannot_fill_the_book_with_execs() {
    let mut book = Book::default();
    for n in 0..2 * MOST_FOUND {
        book.ingest(Fact::ExecAdded(format!("x{n}").parse().unwrap()));
    }
    assert_eq!(book.execs.len(), MOST_FOUND);
    book.add_exec(&"mine".parse().unwrap()).unwrap();
}

#[test]
fn an_init_that_was_made_and_never_started_has_an_exit_too() {
    let mut book = Book::default();
    book.ingest(Fact::Created { pid: 7 });
    book.record_exit(&ProcessKey::Init, exit(7, 137));
    let mut made = Book { made: true, ..book.clone() };
    assert_eq!(made.finish(), [Notice::Exit(ProcessKey::Init, exit(7, 137)), Notice::Delete(exit(7, 137))]);
    assert_eq!(book.finish(), [Notice::Delete(exit(7, 137))], "one whose creation failed has none");
}

#[test]
fn a_start_without_an_answer_is_asked_about_even_if_an_event_came() {
    let mut book = Book::default();
    book.begin_start(&ProcessKey::Init).unwrap();
    book.ingest(Fact::Started { pid: 7 });
    book.set_phase(&ProcessKey::Init, Phase::Unsure, None);
    assert_eq!(book.begin_start(&ProcessKey::Init), Ok(StartTurn::AfterUnsure));
    assert_eq!(book.begin_start(&ProcessKey::Init), Err(Refused::AlreadyStarted));
}

#[test]
fn a_process_is_started_once() {
    let mut book = Book::default();
    assert_eq!(book.begin_start(&ProcessKey::Init), Ok(StartTurn::First));
    assert_eq!(book.begin_start(&ProcessKey::Init), Err(Refused::AlreadyStarted));
    book.set_phase(&ProcessKey::Init, Phase::Made, None);
    assert_eq!(book.begin_start(&ProcessKey::Init), Ok(StartTurn::First));
    book.set_phase(&ProcessKey::Init, Phase::Unsure, None);
    assert_eq!(book.begin_start(&ProcessKey::Init), Ok(StartTurn::AfterUnsure));
    book.ingest(Fact::Started { pid: 7 });
    book.set_phase(&ProcessKey::Init, Phase::Made, None);
    assert_eq!(
        book.begin_start(&ProcessKey::Init),
        Err(Refused::AlreadyStarted),
        "the event outweighs the refusal"
    );
    assert_eq!(book.begin_start(&exec("a")), Err(Refused::NoSuchExec));
}

fn any_fact() -> impl Strategy<Value = Fact> {
    let process = || prop_oneof![Just(ProcessKey::Init), Just(exec("a")), Just(exec("b"))];
    prop_oneof![
        Just(Fact::Created { pid: 7 }),
        Just(Fact::Started { pid: 7 }),
        Just(Fact::ExecAdded("a".parse().unwrap())),
        Just(Fact::ExecStarted("b".parse().unwrap(), 9)),
        process().prop_map(|p| Fact::Exited(p, exit(0, 1))),
        Just(Fact::Deleted(ProcessKey::Init, exit(7, 1))),
    ]
}

/// What the public hears, with the shim's own events replaced by what they mean.
fn meaning(fact: &Fact) -> Notice {
    match fact.clone() {
        Fact::Created { pid } => Notice::Create { pid },
        Fact::Started { pid } => Notice::Start(ProcessKey::Init, pid),
        Fact::ExecAdded(id) => Notice::ExecAdded(id),
        Fact::ExecStarted(id, pid) => Notice::Start(ProcessKey::Exec(id), pid),
        Fact::Exited(p, e) => Notice::Exit(p, e),
        Fact::Deleted(_, e) => Notice::Delete(e),
        Fact::Other => Notice::AsReported,
    }
}

proptest! {
    #[test]
    fn whatever_a_shim_reports_the_public_hears_each_thing_once_and_in_order(facts in prop::collection::vec(any_fact(), 0..24)) {
        let mut book = Book::default();
        let mut public = Vec::new();
        for fact in facts {
            for notice in book.ingest(fact.clone()) {
                public.push(if notice == Notice::AsReported { meaning(&fact) } else { notice });
            }
        }
        for (process, pid) in book.running() {
            book.record_exit(&process, exit(pid, 137));
        }
        public.extend(book.finish());

        let position = |wanted: &dyn Fn(&Notice) -> bool| {
            let found: Vec<_> = public.iter().enumerate().filter(|(_, n)| wanted(n)).map(|(i, _)| i).collect();
            assert!(found.len() <= 1, "twice: {public:?}");
            found.first().copied()
        };
        let create = position(&|n| matches!(n, Notice::Create { .. }));
        let delete = position(&|n| matches!(n, Notice::Delete(_)));
        for process in [ProcessKey::Init, exec("a"), exec("b")] {
            let start = position(&|n| matches!(n, Notice::Start(p, _) if *p == process));
            let end = position(&|n| matches!(n, Notice::Exit(p, _) if *p == process));
            prop_assert!(start.is_none() || end.is_some(), "started and never ended: {:?}", public);
            if let (Some(start), Some(end)) = (start, end) {
                prop_assert!(start < end, "{:?}", public);
            }
            if let (Some(create), Some(start)) = (create, start) {
                prop_assert!(create < start, "{:?}", public);
            }
        }
        // An exec has ended in public before the init.
        let end_of_init = position(&|n| matches!(n, Notice::Exit(ProcessKey::Init, _)));
        for exec in [exec("a"), exec("b")] {
            let end = position(&|n| matches!(n, Notice::Exit(p, _) if *p == exec));
            if let (Some(end), Some(of_init)) = (end, end_of_init) {
                prop_assert!(end < of_init, "{:?}", public);
            }
        }
        prop_assert_eq!(delete.is_some(), !public.is_empty());
        if let Some(delete) = delete {
            prop_assert_eq!(delete, public.len() - 1, "{:?}", public);
        }
    }
}
