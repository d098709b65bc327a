// SPDX-License-Identifier: Apache-2.0
//! The tasks of one shim process: a shim that is told to, or a sandbox's, serves several. Known by its address.
//!
//! ```text
//! seat ──▶ connect: the first member dials, the others share its wire
//!   │
//!   └─ leave ─┬─ others are there: it goes alone, and the shim stays for them
//!             └─ the last one: the group is over, and whoever was told to join it launches again
//! ```
//!
//! A member has its seat from before it dials until its supervisor ends. So between "nobody else is here" and the shim's
//! death nobody can sit down: a task that joins while the last one leaves waits for the end, and gets a new shim.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use shimkeeper_core::Namespace;
use shimkeeper_shim::{Address, BootstrapParams, Connection, DialError, DialMode, ProcessIdentity};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::scope::Scope;
use crate::sync::shed;

/// Groups that have ended and are remembered, for those who were told to join them meanwhile.
const REMEMBERED: usize = 64;

/// The groups there are. A clone is another handle on the same ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Groups {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    /// In boxes, because a table is largely empty.
    groups: HashMap<Arc<Place>, Box<Group>>,
    /// Who launches for a group, by the name that annotations give it.
    launching: HashMap<(Namespace, String), Weak<Semaphore>>,
    /// How many groups have ended, and which were the last: by what their places hash to, because each of these would keep
    /// a page of memory of its time.
    endings: u64,
    ended: VecDeque<(u64, u64)>,
}

/// Where the members of a group find their shim. Namespaces share no connection: every call on it is in one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Place {
    namespace: Namespace,
    address: Address,
}

#[derive(Debug, Default)]
struct Group {
    members: usize,
    /// The last member has decided that the shim goes.
    is_ending: bool,
    /// The shim's process, if it was launched here: who joins it while the others leave learns from this whose it is.
    shim: Option<ProcessIdentity>,
    /// Cancelled when the group is no more; there is none while nobody waits for that.
    over: Option<CancellationToken>,
    /// One member dials at a time: the next finds the wire open.
    turn: Weak<Semaphore>,
    /// The share of whoever dialed. Others are made from it for as long as one of them is open.
    connection: Option<Connection>,
}

/// A member's place in its group, from before it dials to the end of its supervisor.
#[derive(Debug)]
pub(crate) struct Seat {
    groups: Groups,
    place: Arc<Place>,
    /// Whether it has left already, though its supervisor still clears up.
    has_left: Mutex<bool>,
}

/// The group is on its way out; the token is cancelled when it is over.
#[derive(Debug)]
pub(crate) struct GroupEnding(pub(crate) CancellationToken);

/// What a member's leaving means for the shim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// It goes on for the others.
    Stays,
    /// Nobody is left.
    Last,
}

impl Groups {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sits down with those whose shim listens there, the first one included.
    pub(crate) fn seat(&self, namespace: &Namespace, address: &Address) -> Result<Seat, GroupEnding> {
        let place = Arc::new(Place { namespace: namespace.clone(), address: address.clone() });
        let mut inner = self.lock();
        let group = inner.groups.entry(place.clone()).or_default();
        if group.is_ending {
            return Err(GroupEnding(group.over.get_or_insert_default().clone()));
        }
        group.members += 1;
        drop(inner);
        Ok(Seat { groups: self.clone(), place, has_left: Mutex::new(false) })
    }

    /// The turn to launch for this group, which one member has at a time: shims that are launched at once for one group
    /// may take each other's socket for a dead one.
    pub(crate) fn launching(&self, namespace: &Namespace, group: &str) -> Arc<Semaphore> {
        let mut inner = self.lock();
        inner.launching.retain(|_, turn| turn.strong_count() > 0);
        turn_of(inner.launching.entry((namespace.clone(), group.to_owned())).or_default())
    }

    /// How many groups have ended so far.
    pub(crate) fn endings(&self) -> u64 {
        self.lock().endings
    }

    /// Whether the shim that listened there was ended by its last member since there were so many endings.
    pub(crate) fn has_ended_since(&self, endings: u64, namespace: &Namespace, address: &Address) -> bool {
        let inner = self.lock();
        let hash =
            inner.groups.hasher().hash_one(Place { namespace: namespace.clone(), address: address.clone() });
        inner.ended.iter().any(|(at, place)| *at > endings && *place == hash)
    }
}

/// The turn that one has at a time; there is none while nobody wants it.
fn turn_of(turn: &mut Weak<Semaphore>) -> Arc<Semaphore> {
    turn.upgrade().unwrap_or_else(|| {
        let new = Arc::new(Semaphore::new(1));
        *turn = Arc::downgrade(&new);
        new
    })
}

impl Seat {
    /// Where the shim listens.
    pub(crate) fn address(&self) -> &Address {
        &self.place.address
    }

    /// A share of the group's wire; dials if there is none.
    pub(crate) async fn connect(
        &self,
        scope: &Scope,
        params: &BootstrapParams,
        mode: DialMode,
        deadline: Duration,
    ) -> Result<Connection, DialError> {
        let Some(turn) = self.with(|group| turn_of(&mut group.turn)) else {
            return Connection::dial(params, &self.place.namespace, mode, scope.tasks(), deadline).await;
        };
        let connected = self.connect_in(&turn, scope, params, mode, deadline).await;
        self.with(|group| {
            // Nobody else waits for it.
            if group.turn.strong_count() == 1 {
                group.turn = Weak::new();
            }
        });
        connected
    }

    async fn connect_in(
        &self,
        turn: &Semaphore,
        scope: &Scope,
        params: &BootstrapParams,
        mode: DialMode,
        deadline: Duration,
    ) -> Result<Connection, DialError> {
        let _turn = turn.acquire().await;
        let open = |group: &mut Group| group.connection.as_ref().filter(|c| c.api() == params.api)?.share();
        if let Some(share) = self.with(open).flatten().filter(|share| share.close_reason().is_none()) {
            return Ok(share);
        }
        let connection =
            Connection::dial(params, &self.place.namespace, mode, scope.tasks(), deadline).await?;
        self.with(|group| group.connection = Some(connection.clone()));
        Ok(connection)
    }

    /// Notes the shim's process, which was launched here.
    pub(crate) fn note_shim(&self, process: ProcessIdentity) {
        self.with(|group| group.shim = Some(process));
    }

    /// Whether this is known to be the shim's process, and to have been launched here.
    pub(crate) fn is_shim(&self, process: &ProcessIdentity) -> bool {
        self.with(|group| group.shim.as_ref() == Some(process)) == Some(true)
    }

    /// How many others there are.
    pub(crate) fn others(&self) -> usize {
        self.with(|group| group.members).unwrap_or(0).saturating_sub(usize::from(!*self.has_left()))
    }

    /// This member goes. Once it is told that it is the last one, nobody else sits down.
    pub(crate) fn leave(&self) -> Leaving {
        let mut has_left = self.has_left();
        if *has_left {
            return Leaving::Stays;
        }
        let leaving = self.with(|group| {
            if group.members > 1 {
                group.members -= 1;
                return Leaving::Stays;
            }
            group.is_ending = true;
            Leaving::Last
        });
        *has_left = leaving == Some(Leaving::Stays);
        leaving.unwrap_or(Leaving::Last)
    }

    /// Whether the shim, and so its socket, is the others' by now.
    pub(crate) fn is_given_up(&self) -> bool {
        *self.has_left()
    }

    /// Keeps others from sitting down, if there are none; else says how many there are.
    pub(crate) fn begin_to_end(&self) -> Result<(), usize> {
        let others = self.others();
        let closed = self.with(|group| {
            group.is_ending = group.members <= 1;
            group.is_ending
        });
        if closed == Some(false) { Err(others.max(1)) } else { Ok(()) }
    }

    /// The shim stays after all.
    pub(crate) fn stay(&self) {
        self.with(|group| group.is_ending = false);
    }

    fn has_left(&self) -> MutexGuard<'_, bool> {
        self.has_left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` once the group is over, which it is not before its last member has gone.
    fn with<T>(&self, f: impl FnOnce(&mut Group) -> T) -> Option<T> {
        self.groups.lock().groups.get_mut(&self.place).map(|group| f(group))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if *self.has_left() {
            return;
        }
        let mut inner = self.groups.lock();
        let Some(group) = inner.groups.get_mut(&self.place) else { return };
        group.members -= 1;
        if group.members > 0 {
            return;
        }
        if let Some(group) = inner.groups.remove(&self.place) {
            shed(&mut inner.groups);
            inner.endings += 1;
            let ending = (inner.endings, inner.groups.hasher().hash_one(&self.place));
            inner.ended.push_back(ending);
            if inner.ended.len() > REMEMBERED {
                inner.ended.pop_front();
            }
            drop(inner);
            if let Some(over) = group.over {
                over.cancel();
            }
        }
    }
}

#[cfg(test)]
mod tests;
