// SPDX-License-Identifier: Apache-2.0
//! The scenarios, a file each.

mod crash;
mod events;
mod exec;
mod lifecycle;
mod restart;
mod rpc;
mod startup;
mod steady;

use crate::against::error::AgainstError;
use crate::against::figure::Figure;
use crate::against::program::Pairing;
use crate::args::{Comparison, Scenario};

pub(crate) async fn run(
    scenario: Scenario,
    pairing: &Pairing,
    options: &Comparison,
) -> Result<Vec<Figure>, AgainstError> {
    match scenario {
        Scenario::Startup => Box::pin(startup::run(pairing, options)).await,
        Scenario::Lifecycle => Box::pin(lifecycle::run(pairing, options)).await,
        Scenario::Exec => Box::pin(exec::run(pairing, options)).await,
        Scenario::Rpc => Box::pin(rpc::run(pairing, options)).await,
        Scenario::Steady => Box::pin(steady::run(pairing, options)).await,
        Scenario::Restart => Box::pin(restart::run(pairing, options)).await,
        Scenario::Crash => Box::pin(crash::run(pairing, options)).await,
        Scenario::Events => Box::pin(events::run(pairing, options)).await,
    }
}

impl Comparison {
    /// How often something is done: so often in a round, or a few times just to see it work.
    fn times(&self, in_a_round: u32, quick: u32) -> u32 {
        if self.quick { quick } else { in_a_round * self.rounds }
    }

    /// How many there are of something: as many as the figure says, or a few.
    fn many(&self, many: usize, quick: usize) -> usize {
        if self.quick { quick } else { many }
    }
}
