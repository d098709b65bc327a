// SPDX-License-Identifier: Apache-2.0
//! A manager's process that is killed: at every step that a restart has to tell apart, and at any moment. The next
//! manager finds everything that lives, kills nothing, leaves nothing, and every id can be used again.
//!
//! The process is this test binary, started once more with one test selected ([`victim`]); what it does and hears it
//! says line by line, and [`inquest`] asks the oracle what became of it. `SHIMKEEPER_ROUNDS` repeats every case so many
//! times.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed, and the process to be killed says what it does"
)]

mod belief;
mod dice;
mod inquest;
mod life;
mod site;
mod victim;

mod points;
mod random;
mod real_storm;
