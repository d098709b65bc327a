// SPDX-License-Identifier: Apache-2.0
//! A process that a daemon runs, watched from here: a task's first, or an exec. The daemon may be away for a while, as
//! when it is upgraded; the process does not notice, and neither should who watches it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use shimkeeper_core::{Exit, Kind, Provenance, time};
use shimkeeper_proto::containerd::services::tasks::v1::{
    CloseIoRequest, KillRequest, ResizePtyRequest, WaitRequest,
};
use shimkeeper_proto::shimkeeper::v1::ExitRequest;

use super::server::{Server, ask, ask_if_served, is_cut_off, refused};
use super::signal::KILL;
use crate::failure::{Failure, say};
use crate::foreground::supervise::{Order, Watched};

/// How long the daemon may be away.
const AWAY: Duration = Duration::from_mins(2);

/// How long it may be away without a word of it.
const SHORT: Duration = Duration::from_secs(2);

/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(100);

/// One of them, by its id.
#[derive(Debug)]
pub(super) struct Process {
    /// On the session that is in use.
    server: Mutex<Server>,
    container_id: String,
    /// Empty for a task's first.
    exec_id: String,
    pid: u32,
}

impl Process {
    pub(super) fn new(server: &Server, container_id: &str, exec_id: &str, pid: u32) -> Self {
        Self {
            server: Mutex::new(server.clone()),
            container_id: container_id.to_owned(),
            exec_id: exec_id.to_owned(),
            pid,
        }
    }

    /// On the session that is in use.
    pub(super) fn server(&self) -> Server {
        self.server.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn name(&self) -> String {
        if self.exec_id.is_empty() {
            self.container_id.clone()
        } else {
            format!("{} in {}", self.exec_id, self.container_id)
        }
    }

    /// Has the shim close its own end of the input, once ours is.
    pub(super) fn close_input(&self) -> impl Future<Output = ()> + Send + 'static {
        let server = self.server();
        let (container_id, exec_id) = (self.container_id.clone(), self.exec_id.clone());
        async move {
            let request = CloseIoRequest { container_id, exec_id, stdin: true };
            // A process that has ended has no input to close.
            let _ = ask("close the input", server.tasks().close_io(request)).await;
        }
    }

    /// Waits until the daemon is back.
    async fn connect_again(&self) -> Result<(), Failure> {
        let begun = tokio::time::Instant::now();
        let mut told = false;
        loop {
            match self.server().again().await {
                Ok(server) => {
                    *self.server.lock().unwrap_or_else(PoisonError::into_inner) = server;
                    if told {
                        say("the daemon is back", None);
                    }
                    return Ok(());
                }
                Err(failure) if begun.elapsed() > AWAY => return Err(failure),
                Err(_) => {}
            }
            if !told && begun.elapsed() > SHORT {
                told = true;
                say(
                    "the daemon is away; the container is not touched by that",
                    Some("waiting for it to come back"),
                );
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn kill(&self, signal: u32, all: bool) -> Result<(), Failure> {
        let (container_id, exec_id) = (self.container_id.clone(), self.exec_id.clone());
        let request = KillRequest { container_id, exec_id, signal, all };
        let what = format!("send signal {signal} to {}", self.name());
        ask(&what, self.server().tasks().kill(request)).await.map(|_| ())
    }

    /// How it is known, if the daemon says so.
    async fn provenance(&self) -> Option<Provenance> {
        let request = ExitRequest { container_id: self.container_id.clone(), exec_id: self.exec_id.clone() };
        let server = self.server();
        let told = ask_if_served("ask how it ended", server.keeper().exit(request)).await.ok()??;
        Provenance::from_word(&told.provenance().as_str_name().to_ascii_lowercase())
    }
}

impl Watched for Process {
    async fn wait(&self) -> Result<Exit, Failure> {
        loop {
            let request =
                WaitRequest { container_id: self.container_id.clone(), exec_id: self.exec_id.clone() };
            let server = self.server();
            match Box::pin(server.tasks().wait(request)).await {
                Ok(answer) => {
                    let answer = answer.into_inner();
                    let at = answer.exited_at.and_then(|at| time::from_parts(at.seconds, at.nanos));
                    let provenance = self.provenance().await.unwrap_or(Provenance::Observed);
                    let at = at.unwrap_or_else(SystemTime::now);
                    return Ok(Exit { pid: self.pid, status: answer.exit_status, at, provenance });
                }
                Err(status) if is_cut_off(&status) => self.connect_again().await?,
                Err(status) => {
                    let failure = refused(&format!("wait for the end of {}", self.name()), &status);
                    return Err(if failure.kind == Kind::NotFound {
                        Failure { hint: Some("somebody else has removed it".to_owned()), ..failure }
                    } else {
                        failure
                    });
                }
            }
        }
    }

    async fn obey(&self, order: Order) -> Result<(), Failure> {
        match order {
            Order::Signal(signal) => self.kill(signal, false).await,
            Order::Kill => match self.kill(KILL, self.exec_id.is_empty()).await {
                Ok(()) => Ok(()),
                // Not every shim knows how to kill all; the first process takes the others along.
                Err(_) => self.kill(KILL, false).await,
            },
            Order::Resize(size) => {
                let request = ResizePtyRequest {
                    container_id: self.container_id.clone(),
                    exec_id: self.exec_id.clone(),
                    width: size.columns.into(),
                    height: size.rows.into(),
                };
                let what = format!("resize the terminal of {}", self.name());
                ask(&what, self.server().tasks().resize_pty(request)).await.map(|_| ())
            }
        }
    }
}
