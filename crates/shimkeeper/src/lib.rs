// SPDX-License-Identifier: Apache-2.0
//! The library: a manager of containerd shims that does not believe them.
//!
//! A [`Manager`] is opened on two directories of the caller's. It launches shims, speaks to them, and owns their
//! fate; a [`Task`] is a container under a shim, a [`Process`] an extra process in it. A shim may be slow, stuck,
//! lying or gone: no call waits for ever, nothing that runs is destroyed on doubt, and every started process has
//! exactly one exit, with where its status comes from.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use shimkeeper::{Config, CreateTask, Manager, Stdio, TaskKey, oci::ContainerSpec};
//! use tokio::io::AsyncReadExt as _;
//!
//! let manager = Manager::open(Config::new("/run/example", "/var/lib/example")).await?;
//! let spec = ContainerSpec::new("/srv/rootfs", ["/bin/echo", "hello"]).to_json()?;
//! let key = TaskKey::parse("default", "greeter")?;
//! let task = manager.create(CreateTask::new(key, spec).stdio(Stdio::Piped { stdin: false })).await?;
//! let mut output = task.take_io().and_then(|io| io.stdout).expect("it was made with pipes");
//!
//! task.start().await?;
//! let mut said = String::new();
//! output.read_to_string(&mut said).await?;
//! let exit = task.wait().await?;
//! task.delete().await?;
//! assert_eq!((said.as_str(), exit.status), ("hello\n", 0));
//! # Ok(()) }
//! ```

mod adopt;
mod attaching;
mod bypass;
mod census;
mod checkpoint;
mod config;
mod convert;
mod create;
mod deadlines;
mod diagnosing;
mod diagnosis;
mod dialing;
mod early;
mod empty_cgroup;
mod ending;
mod env;
mod error;
mod events_endpoint;
mod events_since;
mod exits;
mod features;
mod group;
mod health;
mod hint;
mod identify;
mod journaling;
mod launching;
mod ledger;
mod limit;
mod lock;
mod machine;
mod manager;
mod memo;
mod monitor;
mod observer;
pub mod oci;
mod orphan;
mod phases;
mod process;
mod publish;
mod rare;
mod reap;
mod reconcile;
mod record;
mod redial;
mod registry;
mod resources;
mod role;
mod runc;
mod sandbox;
mod scope;
mod shim;
mod signals;
#[cfg(test)]
mod simulation;
mod state;
mod stats;
mod stdio;
mod supervisor;
mod survey;
mod sync;
mod task;
mod trace;
mod turns;
mod waiting;
mod whereabouts;
mod witness;
mod words;

pub use adopt::{Adoption, Verdict};
pub use census::{Care, Census};
pub use checkpoint::Checkpoint;
pub use config::Config;
pub use create::CreateTask;
pub use deadlines::Deadlines;
pub use diagnosis::Diagnosis;
pub use error::{Cause, Error, Refused, Step};
pub use events_since::EventsSince;
pub use health::{Health, HealthState};
pub use ledger::ExitRecord;
pub use lock::LockError;
pub use manager::Manager;
pub use observer::{Asked, Dropped, Observer, Span, runtime_name};
pub use phases::{Phase, Phases};
pub use process::Process;
pub use resources::Resources;
pub use runc::RuncOptions;
pub use sandbox::{CreateSandbox, Platform, Sandbox, SandboxStarted, SandboxStatus};
pub use shimkeeper_core::{
    Any, ExecId, Exit, HasKind, IdError, Incarnation, Kind, Mount, Namespace, ProcessKey, Provenance,
    SandboxId, SandboxKey, TaskId, TaskKey,
};
pub use shimkeeper_events as events;
pub use shimkeeper_shim::{RuntimeInfo, raise_open_files};
pub use state::{ProcessState, Status};
pub use stats::Stats;
pub use stdio::{OutputPipe, ProcessIo, StdinPipe, Stdio, StdioPaths};
pub use survey::{Survey, Unknown};
pub use task::{ExecTask, Task, TaskPid};
pub use trace::{TraceContext, traced};

use shimkeeper_shim::failpoint;

/// Keeps the example in the README true: it is compiled with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
