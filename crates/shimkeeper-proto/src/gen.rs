// SPDX-License-Identifier: Apache-2.0
//! All packages, one module per step of their names.
//!
//! Made by `cargo xtask gen` from the files in `/proto`. Edit those, not this.

pub mod containerd;
pub mod google;
pub mod grpc;
pub mod io;
pub mod shimkeeper;
