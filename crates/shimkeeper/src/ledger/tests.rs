// SPDX-License-Identifier: Apache-2.0
//! Who waits for a process hears of its end, whatever becomes of its place in the book.

use std::time::SystemTime;

use shimkeeper_core::Provenance;

use super::*;

fn exit(status: u32) -> Exit {
    Exit { pid: 7, status, at: SystemTime::UNIX_EPOCH, provenance: Provenance::Observed }
}

fn exec() -> (ExecId, ProcessKey) {
    let id: ExecId = "x".parse().unwrap();
    (id.clone(), ProcessKey::Exec(id))
}

#[tokio::test]
async fn a_waiter_hears_of_an_exec_that_was_deleted_before_it_looked() {
    let ledger = Ledger::new(Book::default());
    let (id, process) = exec();
    ledger.add_exec(&id).unwrap();
    ledger.started(&process, 7);
    let mut waits = [Box::pin(ledger.exited(&process)), Box::pin(ledger.exited(&process))];
    for wait in &mut waits {
        assert!(tokio::time::timeout(std::time::Duration::ZERO, wait).await.is_err(), "it runs");
    }
    // Ended, deleted, and its id used again by one that runs, all before any waiter is woken.
    ledger.record_exit(&process, exit(3));
    ledger.remove_exec(&id);
    ledger.add_exec(&id).unwrap();
    for wait in waits {
        assert_eq!(wait.await, Ok(exit(3)));
    }
    assert_eq!(ledger.exit(&process), None, "the other one has not ended");
}

#[test]
fn what_is_told_late_of_a_deleted_exec_is_not_the_end_of_its_namesake() {
    let ledger = Ledger::new(Book::default());
    let (id, process) = exec();
    for (pid, status) in [(7, 3), (8, 4)] {
        ledger.add_exec(&id).unwrap();
        assert!(
            pid == 7 || !ledger.record_exit(&process, exit(3)),
            "of the first, before the second is started"
        );
        ledger.started(&process, pid);
        assert!(pid == 7 || !ledger.record_exit(&process, exit(3)), "and after");
        assert!(ledger.record_exit(&process, Exit { pid, ..exit(status) }));
        assert_eq!(ledger.exit(&process).unwrap().status, status);
        ledger.remove_exec(&id);
    }
}

#[tokio::test]
async fn a_wait_for_what_never_was_ends_too() {
    let ledger = Ledger::new(Book::default());
    let (id, process) = exec();
    assert_eq!(ledger.exited(&process).await, Err(Refused::NoSuchExec));
    for is_removed in [true, false] {
        ledger.add_exec(&id).unwrap();
        let mut wait = Box::pin(ledger.exited(&process));
        assert!(tokio::time::timeout(std::time::Duration::ZERO, &mut wait).await.is_err());
        if is_removed {
            ledger.remove_exec(&id);
            assert_eq!(wait.await, Err(Refused::NoSuchExec));
        } else {
            ledger.finish();
            assert_eq!(wait.await, Err(Refused::NeverStarted));
        }
    }
}

#[tokio::test]
async fn a_waiter_who_leaves_leaves_nothing() {
    let ledger = Ledger::new(Book::default());
    for _ in 0..3 {
        assert!(
            tokio::time::timeout(std::time::Duration::ZERO, ledger.exited(&ProcessKey::Init)).await.is_err()
        );
    }
    ledger.created(7);
    assert!(ledger.pages().awaited.get().is_none());
}

#[tokio::test]
async fn nobody_waits_for_what_could_not_be_started() {
    let ledger = Ledger::new(Book::default());
    let (id, exec) = exec();
    ledger.add_exec(&id).unwrap();
    assert_eq!(ledger.begin_start(&exec), Ok(StartTurn::First));
    let waiting = ledger.exited(&exec);
    let failing = async { ledger.start_failed(&exec) };
    assert_eq!(tokio::join!(waiting, failing).0, Err(Refused::NeverStarted));
    assert_eq!(ledger.begin_start(&exec), Err(Refused::NeverStarted));
    assert!(ledger.running().is_empty() && ledger.finish().is_empty(), "it has no exit to tell of");
}
