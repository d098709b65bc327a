// SPDX-License-Identifier: Apache-2.0
//! The library against a shim that fails, hangs, dies and lies: the scripted fake, which needs neither root (but for what is
//! called `real_`) nor a container. One file per kind of fault; the oracle in `oracle` is asked after each.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed, and one that is skipped says why"
)]

#[path = "faults/bench.rs"]
mod bench;
#[path = "faults/calls.rs"]
mod calls;
#[path = "faults/oracle.rs"]
mod oracle;

#[path = "faults/bypass.rs"]
mod bypass;
#[path = "faults/disk.rs"]
mod disk;
#[path = "faults/events.rs"]
mod events;
#[path = "faults/features.rs"]
mod features;
#[path = "faults/groups.rs"]
mod groups;
#[path = "faults/hangs.rs"]
mod hangs;
#[path = "faults/health.rs"]
mod health;
#[path = "faults/hostile.rs"]
mod hostile;
#[path = "faults/killed.rs"]
mod killed;
#[path = "faults/locks.rs"]
mod locks;
#[path = "faults/misuse.rs"]
mod misuse;
#[path = "faults/reaping.rs"]
mod reaping;
#[path = "faults/record.rs"]
mod record;
#[path = "faults/sandboxes.rs"]
mod sandboxes;
#[path = "faults/standstill.rs"]
mod standstill;
#[path = "faults/start_helper.rs"]
mod start_helper;
#[path = "faults/stdio.rs"]
mod stdio;
#[path = "faults/traces.rs"]
mod traces;
