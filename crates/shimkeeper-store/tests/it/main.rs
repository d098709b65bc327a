// SPDX-License-Identifier: Apache-2.0
//! A store from outside: what clients rely on, and what is left after everything that can happen to a disk.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]
#![expect(clippy::print_stdout, reason = "the reason of a skipped test is printed")]

mod containers;
mod crash;
mod damage;
mod full_disk;
mod fuzz_smoke;
mod leases;
mod model;
mod namespaces;
mod readers;
mod recovery;
mod sandboxes;
mod support;
mod transfer;
