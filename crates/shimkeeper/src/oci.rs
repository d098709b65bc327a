// SPDX-License-Identifier: Apache-2.0
//! The OCI runtime specification: a container's description, written and checked.
//!
//! - [`ContainerSpec`] writes a `config.json` for a container that is described by a few plain words.
//! - [`check`] reads a `config.json` that somebody else wrote, before any process is started for it. It only
//!   looks; the bytes belong to their author and are passed through unchanged.
//! - [`find_command`] tells whether a command is in a root filesystem, to say *why* a start failed.
//!
//! Nothing here keeps state. The defaults are those of docker and of containerd's own client, written down in
//! `defaults.rs`; whatever is read from a root filesystem is read beneath it, because its symbolic links were
//! made by whoever made the image.

mod assemble;
mod capability;
mod check;
mod command;
mod container_spec;
mod defaults;
mod rootfs;
mod user;

pub use capability::CapabilityError;
pub(crate) use check::group;
pub use check::{Checked, SpecError, check, check_process};
pub use command::{CommandLookup, find_command};
pub use container_spec::{BuildError, ContainerSpec, Network};
pub use rootfs::RootfsError;
pub use user::{Identity, UserError, find_user};
