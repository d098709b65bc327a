// SPDX-License-Identifier: Apache-2.0
//! The words every other crate speaks: identifiers, exits, error kinds and time.
//!
//! Nothing here does I/O, knows an async runtime or a protobuf message, so every layer may depend on it.

mod any;
mod chain;
mod exit;
mod id;
mod incarnation;
mod key;
mod kind;
mod mount;
pub mod time;

pub use any::Any;
pub use chain::chain;
pub use exit::{Exit, Provenance};
pub use id::{ExecId, IdError, Namespace, SandboxId, TaskId, check_identifier};
pub use incarnation::Incarnation;
pub use key::{ProcessKey, SandboxKey, TaskKey};
pub use kind::{HasKind, Kind};
pub use mount::Mount;
