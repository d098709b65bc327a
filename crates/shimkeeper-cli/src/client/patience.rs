// SPDX-License-Identifier: Apache-2.0
//! What takes long is told of while it does, and so is what is in the way: mostly a shim that does not answer.

use std::cell::Cell;
use std::time::Duration;

use shimkeeper_proto::shimkeeper::v1::ShimsRequest;
use shimkeeper_proto::shimkeeper::v1::shim::Health;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::server::{Server, ask_if_served};
use crate::failure::say;

/// So long nobody wonders.
const FIRST: Duration = Duration::from_secs(3);

/// How often it is told again.
const AGAIN: Duration = Duration::from_secs(10);

/// How long the daemon may take to tell what is in the way.
const ASKED: Duration = Duration::from_secs(2);

/// What is being done to a container.
#[derive(Debug)]
pub(super) struct Progress<'a> {
    doing: &'a str,
    step: Cell<&'static str>,
}

impl<'a> Progress<'a> {
    pub(super) fn new(doing: &'a str) -> Self {
        Self { doing, step: Cell::new("") }
    }

    /// What is waited for from now on.
    pub(super) fn step(&self, step: &'static str) {
        self.step.set(step);
    }

    fn text(&self, id: &str, shim: Option<String>) -> String {
        let what = [Some(self.step.get().to_owned()).filter(|step| !step.is_empty()), shim];
        let what = what.into_iter().flatten().collect::<Vec<_>>().join("; ");
        format!("still {} {id}{}{what}", self.doing, if what.is_empty() { "" } else { ": " })
    }
}

/// Does the work on a container, and says every while that it is still being done.
pub(super) async fn patiently<T>(
    server: &Server,
    id: &str,
    progress: &Progress<'_>,
    work: impl Future<Output = T>,
) -> T {
    let mut work = std::pin::pin!(work);
    let mut ticks = interval_at(Instant::now() + FIRST, AGAIN);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            _ = ticks.tick() => {}
        }
        // The work goes on meanwhile, and may come to its end.
        tokio::select! {
            biased;
            done = &mut work => return done,
            shim = how_its_shim_does(server, id) => say(&progress.text(id, shim), None),
        }
    }
}

/// What is known of its shim, if that is in the way.
async fn how_its_shim_does(server: &Server, id: &str) -> Option<String> {
    let request = ShimsRequest { namespace: server.namespace() };
    let mut keeper = server.keeper();
    let asked = Box::pin(ask_if_served("ask how shims are doing", keeper.shims(request)));
    let answer = tokio::time::timeout(ASKED, asked).await.ok()?.ok()??;
    let shim = answer.shims.iter().find(|shim| shim.id == id)?;
    let how = match shim.health() {
        Health::Slow => "its shim is slow to answer",
        Health::Stuck => "its shim does not answer",
        Health::Gone => "its shim is being ended",
        Health::Healthy | Health::Unspecified => return None,
    };
    let reason = if shim.reason.is_empty() { String::new() } else { format!(" ({})", shim.reason) };
    Some(format!("{how}{reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_said() {
        let progress = Progress::new("removing");
        assert_eq!(progress.text("web", None), "still removing web");
        progress.step("waiting for its end");
        assert_eq!(progress.text("web", None), "still removing web: waiting for its end");
        let told = progress.text("web", Some("its shim does not answer".to_owned()));
        assert_eq!(told, "still removing web: waiting for its end; its shim does not answer");
    }
}
