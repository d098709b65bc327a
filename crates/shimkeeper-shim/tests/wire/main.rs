// SPDX-License-Identifier: Apache-2.0
//! Connections against servers that speak each Task API over real sockets, in a runtime of their own that can be
//! killed as a shim is killed.

#![expect(clippy::unwrap_used, reason = "all of this is test code")]

mod calls;
mod deadlines;
mod ending;
mod fake;
mod fake_grpc;
mod fake_ttrpc;
mod hostile;
mod raw_grpc;
