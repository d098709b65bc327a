// SPDX-License-Identifier: Apache-2.0
//! Packages whose names start with `containerd.services`.
//!
//! Made by `cargo xtask gen` from the files in `/proto`. Edit those, not this.

pub mod containers;
pub mod events;
pub mod images;
pub mod introspection;
pub mod leases;
pub mod namespaces;
pub mod sandbox;
pub mod tasks;
pub mod version;
