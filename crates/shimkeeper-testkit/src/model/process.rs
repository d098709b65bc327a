// SPDX-License-Identifier: Apache-2.0
//! One process of a fake container: the container's init or an exec.

use std::time::SystemTime;

use shimkeeper_proto::containerd::v1::types::Status;
use tokio::sync::watch;

use super::{Behaviour, Control, Failure, StdioPaths};

/// A process, from before it runs until it is deleted.
pub(crate) struct Process {
    /// 0 until there is one.
    pub(crate) pid: u32,
    pub(crate) phase: Phase,
    pub(crate) behaviour: Behaviour,
    pub(crate) stdio: StdioPaths,
    pub(crate) control: Option<Control>,
    pub(crate) ended: watch::Sender<Option<Ended>>,
}

/// Where a process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Created,
    Running,
    Paused,
    Stopped,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) status: u32,
    pub(crate) at: SystemTime,
}

impl Process {
    pub(crate) fn new(behaviour: Behaviour, stdio: StdioPaths) -> Self {
        let (ended, _) = watch::channel(None);
        Self { pid: 0, phase: Phase::Created, behaviour, stdio, control: None, ended }
    }

    pub(crate) fn end(&self) -> Option<Ended> {
        *self.ended.borrow()
    }

    /// Whether it has begun and not ended.
    pub(crate) fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::Paused)
    }

    pub(crate) fn signal(&self, signal: i32) -> Result<(), Failure> {
        const HIGHEST: i32 = 64;
        if !(0..=HIGHEST).contains(&signal) {
            return Err(Failure::unknown("invalid argument"));
        }
        match (&self.control, self.phase) {
            (_, Phase::Stopped) => Err(Failure::already_finished()),
            (None, _) => Err(Failure::not_created()),
            (Some(control), _) if self.behaviour.dies_of(signal) => control.signal(signal),
            (Some(_), _) => Ok(()),
        }
    }
}

impl Phase {
    /// The word in the runc shim's error texts.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }

    pub(crate) fn on_the_wire(self) -> i32 {
        let status = match self {
            Self::Created => Status::Created,
            Self::Running => Status::Running,
            Self::Paused => Status::Paused,
            Self::Stopped => Status::Stopped,
        };
        status.into()
    }
}
