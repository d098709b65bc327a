// SPDX-License-Identifier: Apache-2.0
//! The records a daemon keeps for its clients: containers, namespaces, leases and sandboxes. Knows no task.
//!
//! ```text
//! read    caller → index (memory) → cache, or one indexed look-up in SQLite on a thread for what blocks
//! write   caller → queue → writer thread: one transaction for all that wait → disk → index → every caller's reply
//! ```
//!
//! What a write promises is on disk when it returns. What a read says was on disk before. Specs, options and
//! extensions belong to the clients: they come back as the bytes they came as.
//!
//! A store that is damaged, or gone while there are bundles that it should describe, is not opened:
//! [`OpenError`] says which command helps.

pub mod bolt;
mod bundles;
mod cache;
mod container;
mod containerd;
mod containers;
mod db;
mod error;
mod form;
mod index;
mod kind;
mod lease;
mod leases;
mod lock;
mod mask;
mod namespace;
mod namespaces;
mod record;
mod records;
mod recover;
mod reserve;
mod salvage;
mod sandbox;
mod sandboxes;
mod store;
mod transfer;
mod validate;
mod writer;

pub use container::{Container, Labels, Runtime};
pub use containerd::{ContainerdError, parse_containerd, read_containerd};
pub use containers::{Containers, Each};
pub use error::{Damage, Invalid, Named, OpenError, StoreError};
pub use index::Counts;
pub use kind::RecordKind;
pub use lease::{Lease, Resource};
pub use leases::Leases;
pub use namespace::NamespaceRecord;
pub use namespaces::Namespaces;
pub use records::{ImportError, LeftOut, Records};
pub use recover::{RecoverError, Recovered, recover};
pub use sandbox::Sandbox;
pub use sandboxes::Sandboxes;
pub use store::Store;
pub use transfer::{Conflict, Imported};
