// SPDX-License-Identifier: Apache-2.0
//! The library on real shims, real OCI runtimes and real containers: every case on three generations of runc's shim,
//! and on each of them with runc and with crun.
//!
//! After every case the [host](host::Host) checks what no case has to say: nothing is left on the machine, and every
//! task's events were a life in order. Takes root, and what `cargo xtask deps --tests` prepares; without it these
//! tests fail, they are not skipped.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "all of this is test code")]

/// Makes a test of every case for every cell of the matrix: `case::shim_1_6_runc` and so on.
///
/// Defined before the modules that use it.
macro_rules! matrix {
    ($($case:ident),* $(,)?) => {
        $(mod $case {
            use shimkeeper_testkit::deps::Generation::{V1_6, V1_7, V2_1};

            use crate::cell::{Cell, OciRuntime::{Crun, Runc}};

            matrix!(@cell $case shim_1_6_runc V1_6 Runc);
            matrix!(@cell $case shim_1_6_crun V1_6 Crun);
            matrix!(@cell $case shim_1_7_runc V1_7 Runc);
            matrix!(@cell $case shim_1_7_crun V1_7 Crun);
            matrix!(@cell $case shim_2_1_runc V2_1 Runc);
            matrix!(@cell $case shim_2_1_crun V2_1 Crun);
        })*
    };
    (@cell $case:ident $name:ident $generation:ident $runtime:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let cell = Cell { generation: $generation, runtime: $runtime };
            crate::host::run(cell, super::$case).await;
        }
    };
}

#[path = "real_shims/cell.rs"]
mod cell;
#[path = "real_shims/control.rs"]
mod control;
#[path = "real_shims/dead_shim.rs"]
mod dead_shim;
#[path = "real_shims/events.rs"]
mod events;
#[path = "real_shims/exec.rs"]
mod exec;
#[path = "real_shims/failed_create.rs"]
mod failed_create;
#[path = "real_shims/groups.rs"]
mod groups;
#[path = "real_shims/held_delete.rs"]
mod held_delete;
#[path = "real_shims/host.rs"]
mod host;
#[path = "real_shims/identity.rs"]
mod identity;
#[path = "real_shims/input.rs"]
mod input;
#[path = "real_shims/lifecycle.rs"]
mod lifecycle;
#[path = "real_shims/output.rs"]
mod output;
#[path = "real_shims/story.rs"]
mod story;
#[path = "real_shims/stuck.rs"]
mod stuck;
#[path = "real_shims/terminal.rs"]
mod terminal;
