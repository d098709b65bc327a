// SPDX-License-Identifier: Apache-2.0
//! A process that is only a future: it lives by the test's clock, paused or not.

use std::future;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::spawn::Nudge;
use super::{Behaviour, Control, Spawned};

pub(super) fn spawn(pid: u32, behaviour: &Behaviour) -> Spawned {
    let (to, from) = mpsc::unbounded_channel();
    let exited = Box::pin(live(behaviour.clone(), from));
    Spawned { pid, control: Control::Virtual(to), exited }
}

/// Waits for what ends the process, and says with which status.
async fn live(behaviour: Behaviour, mut nudges: mpsc::UnboundedReceiver<Nudge>) -> u32 {
    let mut frozen = false;
    let mut end_at: Option<(Instant, u32)> = None;
    loop {
        let alarm = async {
            match end_at {
                Some((at, status)) if !frozen => {
                    sleep_until(at).await;
                    status
                }
                _ => future::pending().await,
            }
        };
        let nudge = tokio::select! {
            biased;
            nudge = nudges.recv() => nudge,
            status = alarm => return status,
        };
        match nudge {
            Some(Nudge::Begin) => end_at = own_end(&behaviour).map(|(after, s)| (Instant::now() + after, s)),
            Some(Nudge::CloseStdin) if behaviour == Behaviour::Cat => return 0,
            Some(Nudge::CloseStdin) => {}
            Some(Nudge::Freeze(on)) => frozen = on,
            Some(Nudge::End(status)) => return status,
            // The shim is gone, and with it whoever could ask how this ended.
            None => future::pending().await,
        }
    }
}

/// When and how a process ends if nobody does anything.
fn own_end(behaviour: &Behaviour) -> Option<(Duration, u32)> {
    match behaviour {
        Behaviour::Exit { after, status } => Some((*after, *status)),
        Behaviour::Echo(_) => Some((Duration::ZERO, 0)),
        Behaviour::Sleep | Behaviour::Stubborn | Behaviour::Cat | Behaviour::Missing => None,
    }
}
