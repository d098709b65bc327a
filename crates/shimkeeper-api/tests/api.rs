// SPDX-License-Identifier: Apache-2.0
//! The services as a client meets them, over a manager with fake shims and a store of the test's own. One file per
//! subject; `golden` has what an implementer would get wrong.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "api/bench.rs"]
mod bench;

#[path = "api/anything.rs"]
mod anything;
#[path = "api/golden.rs"]
mod golden;
#[path = "api/hanging.rs"]
mod hanging;
#[path = "api/keeper.rs"]
mod keeper;
#[path = "api/records.rs"]
mod records;
#[path = "api/sandboxes.rs"]
mod sandboxes;
#[path = "api/tasks.rs"]
mod tasks;
