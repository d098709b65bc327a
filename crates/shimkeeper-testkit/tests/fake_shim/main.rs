// SPDX-License-Identifier: Apache-2.0
//! The fake shim against clients that are not its own: the binary and its in-process twin, over every protocol.

#![expect(clippy::unwrap_used, reason = "what helps a test panics as a test does")]

mod client;
mod delete;
mod launch;
mod lifecycle;
mod start;
mod twin;
mod verbs;
