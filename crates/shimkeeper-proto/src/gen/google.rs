// SPDX-License-Identifier: Apache-2.0
//! Packages whose names start with `google`.
//!
//! Made by `cargo xtask gen` from the files in `/proto`. Edit those, not this.

pub mod protobuf;
pub mod rpc;
