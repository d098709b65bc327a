// SPDX-License-Identifier: Apache-2.0
//! The one task that owns a shim's fate. It waits in one `select!`, lets the [machine](crate::machine) decide, and
//! does what it says. Nobody else ends a shim, removes its bundle or frees its id.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use shimkeeper_core::ProcessKey;
use shimkeeper_shim::CloseReason;
use tokio::sync::oneshot;

use crate::env::Env;
use crate::health::HealthState;
use crate::machine::{Action, End, Fate, Input, Link, State};
use crate::monitor::Watch;
use crate::registry::Ticket;
use crate::shim::{Permit, Settlement, Shim};
use crate::waiting::{Work, run_or_pend, until};
use crate::{ending, health, monitor, publish, reap, redial};

/// First and longest wait between two tries to clear up what could not be cleared up, in seconds.
const RETRY: (u32, u32) = (1, 60);

/// What a shim's handles ask of its supervisor.
enum News {
    /// Somebody wants to decide its fate.
    Hold(oneshot::Sender<Permit>),
    /// It may not answer any more.
    Doubt,
    /// Its connection has ended.
    Ended(CloseReason),
    /// The end of its init is to be waited for.
    Watch,
    /// The manager leaves.
    Leave,
}

/// The wait for the end of the init.
enum Init {
    Unwatched,
    Watched(Watch),
    Over,
}

/// The owner of one shim.
pub(crate) struct Supervisor {
    shim: Arc<Shim>,
    /// Frees the id when this supervisor ends.
    ticket: Option<Ticket>,
    state: State,
    settlement: Option<Settlement>,
    /// What was begun and answers with an input.
    work: Option<Work<'static, Input>>,
    /// Finds out what the end of the connection means.
    watch: Option<Work<'static, Input>>,
    init: Init,
    /// Asks a doubted shim whether it lives.
    probe: Option<Work<'static, ()>>,
    /// How long the next retry waits, in seconds.
    retry: u32,
}

impl Supervisor {
    /// A supervisor, and the permit its shim is born with: dropped, it ends the shim.
    pub(crate) fn new(shim: Arc<Shim>, ticket: Ticket) -> (Self, Permit) {
        let (permit, settlement) = Permit::new(shim.state.clone(), Fate::End);
        let state = shim.state.get();
        let mut this = Self {
            shim,
            ticket: Some(ticket),
            state,
            settlement: Some(settlement),
            work: None,
            watch: None,
            init: Init::Unwatched,
            probe: None,
            retry: RETRY.0,
        };
        this.watch_connection();
        (this, permit)
    }

    /// Runs until the shim is over, or the manager leaves.
    #[expect(
        clippy::manual_async_fn,
        reason = "one has room for its arguments twice, and each shim has this future"
    )]
    pub(crate) fn run(mut self) -> impl Future<Output = ()> + Send {
        async move {
            while !matches!(self.state, State::Gone(_)) {
                let input = self.next().await;
                self.take(input);
            }
            if self.state == State::Gone(End::Detached) {
                self.leave_no_doubt();
            }
        }
    }

    fn take(&mut self, input: Input) {
        let (state, actions) = self.state.step(input);
        tracing::debug!(
            namespace = %self.shim.key.namespace, task = %self.shim.key.id, ?input, from = ?self.state, to = ?state,
            "shim"
        );
        self.state = state;
        for action in actions {
            self.perform(*action);
        }
        self.watch_connection();
        // After the actions, so that whoever sees the state finds its consequences: a free id, a closed ledger.
        self.shim.state.set(state);
    }

    /// Sees to it that what was announced until the very last is on record: an orderly leave announces nothing twice.
    fn leave_no_doubt(&self) {
        let (shim, scope) = (self.shim.clone(), self.shim.env.scope.clone());
        self.shim.env.scope.spawn_last(async move {
            scope.others_ended().await;
            monitor::told(&shim).await;
        });
    }

    /// The next thing that happens. Every arm is cancel safe; what was begun goes on in `work`.
    async fn next(&mut self) -> Input {
        if self.state == State::Removing && self.work.is_some() {
            // Nothing of it lives, and what is on disk is not left half removed.
            let removed = run_or_pend(&mut self.work).await;
            self.work = None;
            return removed;
        }
        loop {
            let (shim, is_probed, can_be_held) = (&self.shim, self.probe.is_some(), self.state.can_be_held());
            let (watches, init) = (self.watches_connection(), &mut self.init);
            let is_unwatched = matches!(init, Init::Unwatched);
            let look = || {
                if shim.env.scope.is_detaching() {
                    return Some(News::Leave);
                }
                let ended = if watches { shim.link_end() } else { None };
                let request = || if can_be_held { shim.next_hold() } else { None };
                let is_doubted = || !is_probed && shim.vitals.take_doubt();
                ended
                    .map(News::Ended)
                    .or_else(|| request().map(News::Hold))
                    .or_else(|| (is_unwatched && shim.ledger.is_init_watched()).then_some(News::Watch))
                    .or_else(|| is_doubted().then_some(News::Doubt))
            };
            return tokio::select! {
                biased;
                // First, or a manager that leaves looks like the death of every shim.
                () = leaving(shim) => Input::Detach,
                input = run_or_pend(&mut self.work) => { self.work = None; input }
                settled = run_or_pend(&mut self.settlement) => {
                    self.settlement = None;
                    // A permit always sends, at the latest when it is dropped.
                    Input::Settle(settled.unwrap_or(Fate::Keep))
                }
                input = run_or_pend(&mut self.watch) => { self.watch = None; input }
                news = until(shim.ledger.changed(), look) => match self.hear(news) {
                    Some(input) => input,
                    None => continue,
                },
                () = run_or_pend(&mut self.probe) => { self.probe = None; continue }
                // Behind what hears of the ledger's changes.
                () = poll_fn(|context| init.poll(shim, context)) => continue,
            };
        }
    }

    fn hear(&mut self, news: News) -> Option<Input> {
        match news {
            News::Leave => return Some(Input::Detach),
            News::Hold(request) => return Some(self.grant(request)),
            News::Doubt => self.probe = Some(Box::pin(health::probe(self.shim.clone()))),
            News::Ended(reason) => self.watch = Some(Box::pin(lost(self.shim.clone(), reason))),
            News::Watch => self.init = Init::Watched(Watch::of(&self.shim, ProcessKey::Init)),
        }
        None
    }

    fn grant(&mut self, request: oneshot::Sender<Permit>) -> Input {
        let (permit, settlement) = Permit::new(self.shim.state.clone(), Fate::Keep);
        self.settlement = Some(settlement);
        // A requester who has left drops the permit, which settles at once.
        let _ = request.send(permit);
        Input::Hold
    }

    fn perform(&mut self, action: Action) {
        let shim = self.shim.clone();
        match action {
            Action::Redial => {
                self.begin(async move { redial::redial(&shim).await });
            }
            Action::EndShim => {
                self.watch = None;
                let is_stuck = self.shim.vitals.state() == HealthState::Stuck;
                self.shim.vitals.gone("it has been told to go");
                self.begin(async move { ending::end_shim(&shim, is_stuck).await });
            }
            Action::Reap => {
                self.watch = None;
                self.shim.vitals.gone("its process is dead");
                // Its process is dead, or was left to others before: whoever joins now joins another.
                self.shim.leave();
                self.begin(async move { reap::reap(&shim).await });
            }
            Action::RemoveBundle => self.begin(async move { reap::remove_bundle(&shim).await }),
            Action::ScheduleRetry => {
                let wait = self.retry;
                self.retry = (wait * 2).min(RETRY.1);
                self.begin(async move {
                    // Over or not: a hurry ends the wait.
                    let _ = tokio::time::timeout(Duration::from_secs(wait.into()), shim.hurried()).await;
                    Input::Retry
                });
            }
            Action::PublishEnd => publish::end(&self.shim),
            Action::Deregister => self.ticket = None,
        }
    }

    /// Has the end of a connection that is new told. It may have ended by now: then that is told at once.
    fn watch_connection(&mut self) {
        if self.watches_connection()
            && let Some(connection) = self.shim.last_connection()
        {
            connection.tell_end(self.shim.ledger.changed());
        }
    }

    /// Whether the end of the connection is news.
    fn watches_connection(&self) -> bool {
        self.watch.is_none() && matches!(self.state, State::Serving | State::Held(Link::Up))
    }

    fn begin(&mut self, work: impl Future<Output = Input> + Send + 'static) {
        self.work = Some(Box::pin(work));
    }
}

impl Init {
    /// Ready when the wait is over, and what follows of that is seen to.
    fn poll(&mut self, shim: &Arc<Shim>, context: &mut Context<'_>) -> Poll<()> {
        let Self::Watched(watch) = self else { return Poll::Pending };
        if let Some(end) = ready!(watch.poll(shim, context)) {
            monitor::conclude(shim, ProcessKey::Init, end);
        }
        *self = Self::Over;
        Poll::Ready(())
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // After a panic nobody owns the shim until the next start; whoever waits for it must not wait for ever.
        let state = self.shim.state.get();
        if !matches!(state, State::Gone(_)) {
            // A manager may leave without waiting for anybody, which leaves the task just so.
            if !self.shim.env.scope.is_detaching() {
                tracing::error!(
                    namespace = %self.shim.key.namespace, task = %self.shim.key.id, ?state,
                    "its supervisor was lost: the task is left as it is"
                );
            }
            self.shim.state.set(State::Gone(End::Detached));
        }
        self.shim.retire();
    }
}

/// Ready when the manager leaves. It wakes nobody: that the manager leaves is told with the ledger's changes.
fn leaving(shim: &Shim) -> impl Future<Output = ()> {
    poll_fn(|_context| if shim.env.scope.is_detaching() { Poll::Ready(()) } else { Poll::Pending })
}

/// Tells all supervisors when the manager leaves: that each waits for that by itself takes more memory.
pub(crate) async fn tell_of_leaving(env: Arc<Env>) {
    env.scope.detach_token().cancelled().await;
    for shim in env.all_shims() {
        shim.ledger.changed().notify_waiters();
    }
}

/// Whether the end of the connection is the shim's death.
async fn lost(shim: Arc<Shim>, reason: CloseReason) -> Input {
    if ending::proven_dead(&shim, ending::DYING).await {
        return Input::Died;
    }
    shim.set_trouble(format!("its connection was lost: {reason}"));
    Input::Lost
}
