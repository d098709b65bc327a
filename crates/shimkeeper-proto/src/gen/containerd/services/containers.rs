// SPDX-License-Identifier: Apache-2.0
//! Packages whose names start with `containerd.services.containers`.
//!
//! Made by `cargo xtask gen` from the files in `/proto`. Edit those, not this.

pub mod v1;
