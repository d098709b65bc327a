// SPDX-License-Identifier: Apache-2.0
//! One wait per started process: the exit is learned from the shim's answer too, not from its events alone, which it
//! may lose, and from the kernel while the shim can tell nothing. Whoever waits for the process waits for the ledger.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use shimkeeper_core::{Exit, ProcessKey, Provenance};
use shimkeeper_proto::containerd::task::v3::WaitRequest;
use shimkeeper_shim::{Call, CallError, Connection};

use crate::ledger::Ledger;
use crate::reconcile::{self, Finding};
use crate::role::Role;
use crate::shim::Shim;
use crate::waiting::{Work, run_or_pend};
use crate::{convert, exits, publish, sandbox, witness};

/// How long the shim's own exit event may be behind its answer to Wait before ours takes its place.
const EVENT_GRACE: Duration = Duration::from_secs(2);

/// What a wait came to.
enum End {
    /// Its exit is on record already.
    Recorded,
    /// How it ended, and for how long somebody else may be about to tell.
    Learned(Exit, Duration),
    /// There will be none.
    Never,
}

/// Starts to wait for a process of the shim, unless that has begun.
pub(crate) fn watch_once(shim: &Arc<Shim>, process: &ProcessKey) {
    if !shim.ledger.take_watch(process) {
        return;
    }
    let (shim, process) = (shim.clone(), process.clone());
    shim.env.scope.clone().spawn(async move {
        let Some(end) = wait(&shim, &process).await else { return };
        // In a box of its own, because each process has this future for all of its life, and comes to this once.
        let telling = Box::pin(tell(&shim, &process, end));
        if shim.env.scope.detach_token().run_until_cancelled(telling).await.is_some() {
            // Also by a manager that leaves, or the next one announces the exit again.
            Box::pin(told(&shim)).await;
        }
    });
}

/// Waits for the end of a process, whoever tells of it first. `None` if the manager leaves, which the shim's supervisor
/// brings about.
async fn wait(shim: &Shim, process: &ProcessKey) -> Option<End> {
    // Its id may be another exec's by the time of the answer; the pid tells.
    let pid = shim.ledger.process(process).map_or(0, |p| p.pid);
    // An answer that there will be none is good for ever.
    let mut can_be_asked = true;
    let (mut answer, mut witness): (Option<Work<'_, _>>, Option<Work<'_, _>>) = (None, None);
    loop {
        // Before looking: it hears of what changes from now on, waited for or not.
        let changed = shim.ledger.changed().notified();
        if shim.env.scope.is_detaching() {
            return None;
        }
        match shim.ledger.outcome(process) {
            Some(Ok(_)) => return Some(End::Recorded),
            Some(Err(_)) => return Some(End::Never),
            None => {}
        }
        if answer.is_none()
            && can_be_asked
            && let Some(connection) = shim.connection()
        {
            answer = Some(Box::pin(ask(shim, process, pid, connection)));
        }
        if witness.is_some() != shim.is_mute() {
            // Whoever is mute now was not before, or the other way round.
            witness = if witness.is_none() { Some(Box::pin(witness::exit_of(shim, process))) } else { None };
        }
        tokio::select! {
            biased;
            () = changed => {}
            answered = run_or_pend(&mut answer) => {
                answer = None;
                match answered {
                    Ok(Some(exit)) => return Some(End::Learned(exit, EVENT_GRACE)),
                    Ok(None) => can_be_asked = false,
                    // Until it is connected again.
                    Err(error) if error.is_closed() => {}
                    Err(error) => {
                        tracing::debug!(
                            namespace = %shim.key.namespace, task = %shim.key.id, %process, %error,
                            "the shim does not wait"
                        );
                        can_be_asked = false;
                    }
                }
            }
            // Nobody else is about to tell.
            exit = run_or_pend(&mut witness) => return Some(End::Learned(exit, Duration::ZERO)),
        }
    }
}

/// Records the end, if that is news, and sees to it that it is told.
async fn tell(shim: &Arc<Shim>, process: &ProcessKey, end: End) {
    let grace = match end {
        End::Never => return,
        End::Recorded => EVENT_GRACE,
        End::Learned(exit, grace) => {
            exits::record(shim, process, exit);
            persist(shim).await;
            grace
        }
    };
    // An event that is on its way comes first, so that the shim's own words are passed on.
    if shim.role == Role::Task && tokio::time::timeout(grace, shim.ledger.told_exit(process)).await.is_err() {
        // Whoever has recorded it may be waiting for the disk.
        persist(shim).await;
    }
    publish::decided(shim, None, |ledger| ledger.announce_exit(process));
    if *process == ProcessKey::Init && shim.ledger.init_waits() {
        tell_after_execs(shim).await;
    }
    crate::failpoint::hit("C8-told");
}

/// Tells of the init's end, which waits for those of its execs, once these are told: by whoever learns of them, by the
/// shim when it is asked for them, or, where it is dead, by the end of the task. Only a shim that answers, and still says
/// that one of them runs, is waited for no longer.
async fn tell_after_execs(shim: &Arc<Shim>) {
    loop {
        if !shim.is_mute()
            && let Some(connection) = shim.connection()
            && !matches!(reconcile::reconcile(shim, &connection, None).await, Finding::Silent(_))
        {
            publish::decided(shim, None, Ledger::announce_init);
        }
        if tokio::time::timeout(EVENT_GRACE, shim.ledger.told_exit(&ProcessKey::Init)).await.is_ok() {
            return;
        }
    }
}

/// Makes durable what has been announced, so that a restart does not announce it again. Not before it is in the journal:
/// a restart in between announces it once more, and never not at all. Nobody waits for it.
pub(crate) async fn told(shim: &Arc<Shim>) {
    if shim.env.journaled_in_time().await {
        crate::failpoint::hit("C8-journaled");
        persist(shim).await;
    }
}

/// Asks the shim until it answers; `None` if it tells of no exit.
async fn ask(
    shim: &Shim,
    process: &ProcessKey,
    pid: u32,
    connection: Connection,
) -> Result<Option<Exit>, CallError> {
    if shim.is_found {
        // Its events tell as well: this can wait until every shim that was found has been asked who it is. Then it is asked
        // one shim after the other, with everybody's turn in between: whoever waited for all verdicts is answered first.
        Box::pin(async {
            shim.env.rush_is_over.cancelled().await;
            let _turn = shim.env.late_turn.acquire().await;
            tokio::task::yield_now().await;
            shim.check_cgroup();
        })
        .await;
    }
    if shim.role == Role::Sandbox {
        return Box::pin(sandbox::wait_for(shim, &connection, &Call::unbounded())).await;
    }
    let request = WaitRequest { id: shim.key.id.to_string(), exec_id: process.exec_id().to_owned() };
    let answer = Box::pin(connection.begin_wait(request)).await?;
    drop(connection);
    let answer = answer.await?;
    let at = convert::moment(answer.exited_at.as_ref());
    Ok(Some(Exit {
        pid,
        status: answer.exit_status,
        at: at.unwrap_or_else(SystemTime::now),
        provenance: Provenance::Observed,
    }))
}

/// Makes the ends that are known durable before a shim that is asked to forget a process does so. What else has changed is
/// written with the next change.
pub(crate) async fn persist_ends(shim: &Arc<Shim>) {
    if !shim.record.has_ends_of(&shim.ledger) {
        persist(shim).await;
    }
}

/// Makes an exit durable before it is announced.
pub(crate) async fn persist(shim: &Arc<Shim>) {
    if let Err(error) = shim.persist().await {
        tracing::warn!(
            namespace = %shim.key.namespace, task = %shim.key.id, %error,
            "an exit could not be recorded"
        );
    }
}
