// SPDX-License-Identifier: Apache-2.0
//! One wait per started process: the exit is learned from the shim's answer too, not from its events alone, which it
//! may lose, and from the kernel while the shim can tell nothing. Whoever waits for the process waits for the ledger.

use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use shimkeeper_core::{Exit, ProcessKey, Provenance};
use shimkeeper_proto::containerd::task::v3::{WaitRequest, WaitResponse};
use shimkeeper_shim::{Call, CallError, Connection, LongAnswer};

use crate::ledger::Ledger;
use crate::reconcile::{self, Finding};
use crate::role::Role;
use crate::shim::Shim;
use crate::waiting::Work;
use crate::{convert, exits, publish, sandbox, witness};

/// How long the shim's own exit event may be behind its answer to Wait before ours takes its place.
const EVENT_GRACE: Duration = Duration::from_secs(2);

/// What a wait came to.
pub(crate) enum End {
    /// Its exit is on record already.
    Recorded,
    /// How it ended, and for how long somebody else may be about to tell.
    Learned(Exit, Duration),
    /// There will be none.
    Never,
}

/// A wait for the end of a process, whoever tells of it first. Polled whenever the ledger's news came, and kept small:
/// each process has one for all of its life.
pub(crate) struct Watch {
    process: ProcessKey,
    /// Its id may be another exec's by the time of the answer; the pid tells.
    pid: u32,
    /// An answer that there will be none is good for ever.
    can_be_asked: bool,
    answer: Option<Answer>,
    witness: Option<Work<'static, Exit>>,
}

/// What the shim is asked, and then what it says.
enum Answer {
    Asked(Work<'static, Result<Said, CallError>>),
    Coming(LongAnswer<WaitResponse>),
}

/// What comes of the question.
enum Said {
    /// It was sent, and is answered when the process ends.
    Waits(LongAnswer<WaitResponse>),
    /// It is answered; with nothing, if the shim tells of no exit.
    Told(Option<Exit>),
}

/// Starts to wait for a process of the shim, unless that has begun. For the end of the init waits its supervisor, which
/// is there as long.
pub(crate) fn watch_once(shim: &Arc<Shim>, process: &ProcessKey) {
    if !shim.ledger.take_watch(process) {
        return;
    }
    if *process == ProcessKey::Init {
        shim.ledger.changed().notify_waiters();
        return;
    }
    let mut watch = Watch::of(shim, process.clone());
    let shim = shim.clone();
    shim.env.scope.clone().spawn(async move {
        let end = loop {
            // Before looking: it hears of what changes from now on, waited for or not.
            let changed = shim.ledger.changed().notified();
            tokio::select! {
                biased;
                () = changed => {}
                end = poll_fn(|context| watch.poll(&shim, context)) => break end,
            }
        };
        if let Some(end) = end {
            conclude(&shim, watch.process, end);
        }
    });
}

/// Sees to what follows of the end.
pub(crate) fn conclude(shim: &Arc<Shim>, process: ProcessKey, end: End) {
    let shim = shim.clone();
    shim.env.scope.clone().spawn(async move {
        let telling = tell(&shim, &process, end);
        if shim.env.scope.detach_token().run_until_cancelled(telling).await.is_some() {
            // Also by a manager that leaves, or the next one announces the exit again.
            told(&shim).await;
        }
    });
}

impl Watch {
    pub(crate) fn of(shim: &Shim, process: ProcessKey) -> Self {
        let pid = shim.ledger.process(&process).map_or(0, |p| p.pid);
        Self { process, pid, can_be_asked: true, answer: None, witness: None }
    }

    /// Ready with the end; with `None` if the manager leaves. Whoever polls hears of the ledger's changes from before.
    pub(crate) fn poll(&mut self, shim: &Arc<Shim>, context: &mut Context<'_>) -> Poll<Option<End>> {
        if shim.env.scope.is_detaching() {
            return Poll::Ready(None);
        }
        match shim.ledger.outcome(&self.process) {
            Some(Ok(_)) => return Poll::Ready(Some(End::Recorded)),
            Some(Err(_)) => return Poll::Ready(Some(End::Never)),
            None => {}
        }
        if let Poll::Ready(exit) = self.poll_answer(shim, context) {
            return Poll::Ready(Some(End::Learned(exit, EVENT_GRACE)));
        }
        if self.witness.is_some() != shim.is_mute() {
            // Whoever is mute now was not before, or the other way round.
            self.witness = match self.witness {
                None => Some(Box::pin(witness::exit_of(shim.clone(), self.process.clone()))),
                Some(_) => None,
            };
        }
        match &mut self.witness {
            // Nobody else is about to tell.
            Some(witness) => {
                witness.as_mut().poll(context).map(|exit| Some(End::Learned(exit, Duration::ZERO)))
            }
            None => Poll::Pending,
        }
    }

    /// Asks the shim, if it can be asked, and sees what it says.
    fn poll_answer(&mut self, shim: &Arc<Shim>, context: &mut Context<'_>) -> Poll<Exit> {
        if self.answer.is_none()
            && self.can_be_asked
            && let Some(connection) = shim.connection()
        {
            let asking = ask(shim.clone(), self.process.clone(), connection);
            self.answer = Some(Answer::Asked(Box::pin(asking)));
        }
        let answered = loop {
            match &mut self.answer {
                None => return Poll::Pending,
                Some(Answer::Asked(asking)) => match ready!(asking.as_mut().poll(context)) {
                    Ok(Said::Waits(answer)) => self.answer = Some(Answer::Coming(answer)),
                    Ok(Said::Told(exit)) => break Ok(exit),
                    Err(error) => break Err(error),
                },
                Some(Answer::Coming(answer)) => {
                    break ready!(Pin::new(answer).poll(context)).map(|answer| Some(self.exit(&answer)));
                }
            }
        };
        self.answer = None;
        match answered {
            Ok(Some(exit)) => return Poll::Ready(exit),
            Ok(None) => self.can_be_asked = false,
            // Until it is connected again, which is news.
            Err(error) if error.is_closed() => {}
            Err(error) => {
                tracing::debug!(
                    namespace = %shim.key.namespace, task = %shim.key.id, process = %self.process, %error,
                    "the shim does not wait"
                );
                self.can_be_asked = false;
            }
        }
        Poll::Pending
    }

    fn exit(&self, answer: &WaitResponse) -> Exit {
        let at = convert::moment(answer.exited_at.as_ref());
        Exit {
            pid: self.pid,
            status: answer.exit_status,
            at: at.unwrap_or_else(SystemTime::now),
            provenance: Provenance::Observed,
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

/// Asks the shim to tell of the end.
async fn ask(shim: Arc<Shim>, process: ProcessKey, connection: Connection) -> Result<Said, CallError> {
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
        return Box::pin(sandbox::wait_for(&shim, &connection, &Call::unbounded())).await.map(Said::Told);
    }
    let request = WaitRequest { id: shim.key.id.to_string(), exec_id: process.exec_id().to_owned() };
    Box::pin(connection.begin_wait(request)).await.map(Said::Waits)
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
