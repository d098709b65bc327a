// SPDX-License-Identifier: Apache-2.0
//! Packages whose names start with `containerd`.
//!
//! Made by `cargo xtask gen` from the files in `/proto`. Edit those, not this.

pub mod events;
pub mod runc;
pub mod runtime;
pub mod services;
pub mod task;
pub mod types;
pub mod v1;
