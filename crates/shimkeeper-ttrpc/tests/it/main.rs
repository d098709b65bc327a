// SPDX-License-Identifier: Apache-2.0
//! Client and server against each other, and each against peers that break the rules.

mod bounds;
mod closing;
mod deadlines;
mod fuzz_smoke;
mod hostile_client;
mod hostile_server;
mod order;
mod support;
mod unary;
