// SPDX-License-Identifier: Apache-2.0
//! The library's error: which step failed, for which task, at which shim, why, and what to do next.

mod refused;

use std::fmt;
use std::path::PathBuf;

use shimkeeper_core::{HasKind, IdError, Kind, ProcessKey, TaskKey};
use shimkeeper_events::{JournalError, SubscribeError};
use shimkeeper_shim::{
    BootstrapFileError, BundleError, CallError, DialError, DirsError, IdentityError, LaunchError, LogError,
    RemoveDirsError, ResolveError,
};

use crate::diagnosis::Diagnosis;
use crate::lock::LockError;
use crate::oci::SpecError;
use crate::words;
pub use refused::Refused;

/// Why something the library was asked for did not happen.
///
/// `Display` is one line that says the step, the task and the reason; [`Error::hint`] says what to do next;
/// [`Error::kind`] is what a program decides on; [`std::error::Error::source`] leads to the causes below.
pub struct Error(Box<Inner>);

struct Inner {
    step: Step,
    key: Option<TaskKey>,
    process: Option<ProcessKey>,
    shim: Option<PathBuf>,
    cause: Cause,
    diagnosis: Option<Diagnosis>,
    shim_log: Vec<String>,
}

/// What was being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// Opening a manager on its directories.
    Open,
    /// Looking a task up.
    Find,
    /// Checking a request, before anything is made.
    Check,
    /// Reserving the id.
    Reserve,
    /// Finding the shim binary.
    Resolve,
    /// Making the bundle.
    Bundle,
    /// Writing the record that makes a restart safe.
    Record,
    /// Opening the shim's log.
    Log,
    /// Preparing standard input and output.
    Stdio,
    /// Running the shim binary's `start` action.
    Launch,
    /// Connecting to the shim.
    Dial,
    /// Asking a new shim whether it answers.
    Probe,
    /// A call of the Task API; the name is the method's.
    Call(&'static str),
    /// Clearing up what a task left.
    Reap,
    /// Removing a manager's directories.
    Remove,
    /// Reading events that were kept.
    Events,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Find => "find task",
            Self::Check => "check request",
            Self::Reserve => "reserve id",
            Self::Resolve => "find shim",
            Self::Bundle => "make bundle",
            Self::Record => "write record",
            Self::Log => "open shim log",
            Self::Stdio => "prepare stdio",
            Self::Launch => "launch shim",
            Self::Dial => "dial shim",
            Self::Probe => "probe shim",
            Self::Call(method) => method,
            Self::Reap => "reap",
            Self::Remove => "remove directories",
            Self::Events => "read events",
        })
    }
}

/// The reason, by the piece it comes from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// A text is no identifier.
    #[error(transparent)]
    Id(#[from] IdError),
    /// The OCI spec cannot work.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The manager's directories cannot be used.
    #[error(transparent)]
    Dirs(#[from] DirsError),
    /// The manager's directories cannot be removed.
    #[error(transparent)]
    RemoveDirs(#[from] RemoveDirsError),
    /// The manager's directories are in use.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The bundle could not be made or removed.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The shim's address could not be kept in the bundle.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapFileError),
    /// There is no such shim.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The shim binary did not do what it was run for.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The shim's log could not be opened.
    #[error(transparent)]
    Log(#[from] LogError),
    /// There can be no more subscribers.
    #[error(transparent)]
    Subscribe(#[from] SubscribeError),
    /// Events could not be read back.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A process could not be told from others.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The shim could not be connected to.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The shim refused or did not answer.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The task is not in a state that allows it.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// A file could not be used.
    #[error("cannot {verb} {}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
}

impl HasKind for Cause {
    fn kind(&self) -> Kind {
        match self {
            Self::Id(e) => e.kind(),
            Self::Spec(e) => e.kind(),
            Self::Dirs(e) => e.kind(),
            Self::RemoveDirs(e) => e.kind(),
            Self::Lock(e) => e.kind(),
            Self::Bundle(e) => e.kind(),
            Self::Bootstrap(e) => e.kind(),
            Self::Resolve(e) => e.kind(),
            Self::Launch(e) => words::refine(e.kind(), launch_words(e)),
            Self::Log(e) => e.kind(),
            Self::Subscribe(e) => e.kind(),
            Self::Journal(e) => e.kind(),
            Self::Identity(e) => e.kind(),
            Self::Dial(e) => e.kind(),
            Self::Call(e) => words::refine(e.kind(), e.shim_message().unwrap_or_default()),
            Self::Refused(e) => e.kind(),
            Self::Io { source, .. } => Kind::of_io(source),
        }
    }
}

/// What the shim's binary wrote before it failed.
fn launch_words(error: &LaunchError) -> &str {
    match error {
        LaunchError::Exit { output, .. } => output,
        _ => "",
    }
}

impl Error {
    pub(crate) fn new(step: Step, cause: impl Into<Cause>) -> Self {
        let cause = cause.into();
        let (key, process, shim, diagnosis) = (None, None, None, None);
        Self(Box::new(Inner { step, key, process, shim, cause, diagnosis, shim_log: Vec::new() }))
    }

    pub(crate) fn io(
        step: Step,
        verb: &'static str,
        path: impl Into<PathBuf>,
        source: std::io::Error,
    ) -> Self {
        Self::new(step, Cause::Io { verb, path: path.into(), source })
    }

    /// For which task.
    pub(crate) fn of(mut self, key: &TaskKey) -> Self {
        self.0.key.get_or_insert_with(|| key.clone());
        self
    }

    /// For which of its processes.
    pub(crate) fn of_process(mut self, process: &ProcessKey) -> Self {
        self.0.process.get_or_insert_with(|| process.clone());
        self
    }

    /// At which shim.
    pub(crate) fn at_shim(mut self, binary: impl Into<PathBuf>) -> Self {
        self.0.shim.get_or_insert_with(|| binary.into());
        self
    }

    /// With the last lines of the shim's log.
    pub(crate) fn with_shim_log(mut self, lines: Vec<String>) -> Self {
        self.0.shim_log = lines;
        self
    }

    /// With what could be found out about the cause.
    pub(crate) fn diagnosed(mut self, diagnosis: Option<Diagnosis>) -> Self {
        self.0.diagnosis = diagnosis;
        self
    }

    /// The same failure, for a reason that is known better.
    pub(crate) fn because(mut self, cause: impl Into<Cause>) -> Self {
        self.0.cause = cause.into();
        self
    }

    /// What was being done.
    pub fn step(&self) -> Step {
        self.0.step
    }

    /// The task it was done for.
    pub fn key(&self) -> Option<&TaskKey> {
        self.0.key.as_ref()
    }

    /// The process it was done for, where it was one of a task's.
    pub fn process(&self) -> Option<&ProcessKey> {
        self.0.process.as_ref()
    }

    /// The shim binary it was done with.
    pub fn shim(&self) -> Option<&std::path::Path> {
        self.0.shim.as_deref()
    }

    /// The reason, by the piece it comes from.
    pub fn cause(&self) -> &Cause {
        &self.0.cause
    }

    /// What the container lacks, where that could be found out; the cause then is what the shim said.
    pub fn diagnosis(&self) -> Option<Diagnosis> {
        self.0.diagnosis
    }

    /// The last lines the shim logged before, escaped and at most a few kilobytes; empty where it logged nothing.
    pub fn shim_log(&self) -> &[String] {
        &self.0.shim_log
    }
}

impl HasKind for Error {
    fn kind(&self) -> Kind {
        self.0.diagnosis.map_or_else(|| self.0.cause.kind(), Diagnosis::kind)
    }
}

impl Error {
    /// The kind of failure: what a program decides on.
    pub fn kind(&self) -> Kind {
        HasKind::kind(self)
    }
}

impl fmt::Display for Error {
    /// One line of at most 1 KiB: what a shim said is in it, and a shim may say anything.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        words::one_line(f, |f| self.write(f))
    }
}

impl Error {
    fn write(&self, f: &mut dyn fmt::Write) -> fmt::Result {
        let inner = &*self.0;
        if let Some(key) = &inner.key {
            write!(f, "{key}: ")?;
        }
        if let Some(process @ ProcessKey::Exec(_)) = &inner.process {
            write!(f, "{process}: ")?;
        }
        if let Cause::Call(error) = &inner.cause {
            // It names the method, which says the step as well.
            return write!(f, "{error}");
        }
        write!(f, "{}", inner.step)?;
        if let (Some(shim), Step::Launch | Step::Dial | Step::Probe | Step::Reap) = (&inner.shim, inner.step)
        {
            write!(f, " {}", shim.display())?;
        }
        write!(f, ": {}", inner.cause)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        f.debug_struct("Error")
            .field("kind", &self.kind())
            .field("step", &inner.step)
            .field("key", &inner.key)
            .field("process", &inner.process)
            .field("shim", &inner.shim)
            .field("cause", &inner.cause)
            .field("diagnosis", &inner.diagnosis)
            .field("shim_log", &inner.shim_log)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The cause's own line is part of ours, so the chain goes on below it.
        std::error::Error::source(&self.0.cause)
    }
}
