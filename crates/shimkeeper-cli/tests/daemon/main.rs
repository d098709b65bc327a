// SPDX-License-Identifier: Apache-2.0
//! `shimkeeper daemon` as a service: how it starts and ends, what it is told, whose sockets it takes. Real processes,
//! no containers but in the modules that say so by their names.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod config;
mod crowd;
mod documented;
mod life;
mod place;
mod real;
mod real_client;
mod real_ctr;
mod real_detached;
mod real_differential;
mod real_docker;
mod real_failed_start;
mod real_few_files;
mod real_few_threads;
mod real_front;
mod real_load;
mod real_operated;
mod real_removed;
mod real_rust;
mod real_stuck;
mod sockets;
mod specs;
mod streams;
mod support;
mod unread_log;
