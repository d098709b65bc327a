// SPDX-License-Identifier: Apache-2.0
//! How many shims a manager has and how they are: numbers only, taken at one moment, waiting for nobody.

use std::collections::BTreeMap;

use shimkeeper_events::Counters;

use crate::env::Env;
use crate::health::HealthState;
use crate::machine::State;
use crate::registry::Entry;
use crate::role::Role;

/// How many of what there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Census {
    /// Shims, those of sandboxes too. Tasks that share a shim count each.
    pub shims: BTreeMap<(Care, HealthState), usize>,
    /// Ids that are being made into tasks or sandboxes.
    pub creating: usize,
    /// Bundles found at the start without a verdict yet.
    pub adopting: usize,
    /// Bundles found at the start that nothing can be made of; looked at again and again.
    pub stranded: usize,
    /// What the exchange of events has done, and holds.
    pub events: Counters,
    /// Events that the journal could not keep: gaps that readers are told of.
    pub unkept: u64,
}

/// What a manager does with a shim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Care {
    /// It serves.
    Serving,
    /// Its fate is being decided: a creation, an adoption, a deletion.
    Held,
    /// Its connection is lost and it is not proven dead: dialed again.
    Unreachable,
    /// It is told to go.
    Ending,
    /// It is dead; what it left is cleared up.
    Reaping,
    /// What is left of it cannot be cleared up; tried again.
    Quarantined,
}

impl Care {
    /// Every one of them.
    pub const ALL: [Self; 6] =
        [Self::Serving, Self::Held, Self::Unreachable, Self::Ending, Self::Reaping, Self::Quarantined];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Held => "held",
            Self::Unreachable => "unreachable",
            Self::Ending => "ending",
            Self::Reaping => "reaping",
            Self::Quarantined => "quarantined",
        }
    }

    /// `None` once it is over.
    pub(crate) fn of(state: State) -> Option<Self> {
        Some(match state {
            State::Serving => Self::Serving,
            State::Held(_) => Self::Held,
            State::Unreachable => Self::Unreachable,
            State::Ending => Self::Ending,
            State::Reaping | State::Removing => Self::Reaping,
            State::Quarantined => Self::Quarantined,
            State::Gone(_) => return None,
        })
    }
}

impl Census {
    pub(crate) fn of(env: &Env) -> Self {
        let mut census = Self {
            events: env.exchange.counters(),
            unkept: env.journaling.as_ref().map_or(0, |journaling| journaling.unkept()),
            ..Self::default()
        };
        for role in [Role::Task, Role::Sandbox] {
            for (_, entry) in env.registry_of(role).entries() {
                match entry {
                    Entry::Creating => census.creating += 1,
                    Entry::Adopting(_) => census.adopting += 1,
                    Entry::Stranded(_) => census.stranded += 1,
                    Entry::Shim(shim) => {
                        if let Some(care) = Care::of(shim.state.get()) {
                            *census.shims.entry((care, shim.vitals.state())).or_default() += 1;
                        }
                    }
                }
            }
        }
        census
    }
}
