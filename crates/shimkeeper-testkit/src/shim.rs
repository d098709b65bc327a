// SPDX-License-Identifier: Apache-2.0
//! A fake shim without its transport: takes a call, consults the script, asks the model, makes an answer.

mod honest;
mod sandboxes;

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use shimkeeper_proto::containerd::runtime::sandbox::v1::SANDBOX_SERVICE;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::model::{Failure, Model};
use crate::outbox::Outbox;
use crate::script::{Act, Method, SandboxService, Script, When};
use crate::wire::{Answer, Answering, Fault, Halt, Handler, Metadata};

pub use sandboxes::SANDBOX_EXIT;
use sandboxes::Sandboxes;

/// A call the shim received.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    /// The RPC.
    pub method: Method,
    /// The task it names; empty if the message cannot be read.
    pub id: String,
    /// The exec it names; empty for init, and for RPCs that name none.
    pub exec_id: String,
    /// What came with it besides the message: keys and values, in their order.
    pub metadata: Vec<(String, String)>,
}

impl Received {
    /// Reads the calls that a shim whose script says so ([`Script::calls`]) has noted down.
    ///
    /// # Errors
    /// If the file cannot be read, or says something else.
    pub fn read_all(path: &Path) -> io::Result<Vec<Self>> {
        let text = std::fs::read_to_string(path)?;
        text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    fn append(&self, path: &Path) -> io::Result<()> {
        let mut file = std::fs::File::options().create(true).append(true).open(path)?;
        file.write_all(format!("{}\n", serde_json::to_string(self)?).as_bytes())
    }
}

/// A fake shim.
pub(crate) struct Shim {
    pub(crate) script: Script,
    pub(crate) model: Model,
    sandboxes: Sandboxes,
    pub(crate) outbox: Outbox,
    pub(crate) halt: Halt,
    /// Cancelled: no new connections.
    pub(crate) deaf: CancellationToken,
    pub(crate) pid: u32,
    /// Whether dying is the death of this process.
    pub(crate) is_process: bool,
    counts: Mutex<HashMap<Method, u32>>,
    received: Mutex<Vec<Received>>,
}

impl Shim {
    pub(crate) fn new(script: Script, model: Model, outbox: Outbox, pid: u32, is_process: bool) -> Self {
        Self {
            script,
            model,
            sandboxes: Sandboxes::default(),
            outbox,
            halt: Halt::default(),
            deaf: CancellationToken::new(),
            pid,
            is_process,
            counts: Mutex::default(),
            received: Mutex::default(),
        }
    }

    /// Ends as by SIGKILL.
    pub(crate) fn die(&self) {
        if self.is_process {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
        self.deaf.cancel();
        self.halt.listeners.close();
        self.halt.dead.cancel();
    }

    /// Accepts no more connections, from now on.
    pub(crate) async fn stop_listening(&self) {
        self.deaf.cancel();
        self.halt.listeners.close();
        self.halt.listeners.wait().await;
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().expect("nothing panics under this lock").clone()
    }

    fn note(&self, method: Method, metadata: Metadata, payload: &Bytes) -> u32 {
        let (id, exec_id) = honest::names(method, payload.clone());
        let call = Received { method, id, exec_id, metadata };
        let mut received = self.received.lock().expect("nothing panics under this lock");
        if let Some(path) = &self.script.calls {
            // A test that reads it misses what could not be written.
            let _ = call.append(path);
        }
        received.push(call);
        drop(received);
        let mut counts = self.counts.lock().expect("nothing panics under this lock");
        let count = counts.entry(method).or_default();
        *count += 1;
        *count
    }

    async fn answer(&self, method: Method, metadata: Metadata, payload: Bytes) -> Answer {
        let nth = self.note(method, metadata, &payload);
        for act in self.script.due(method, When::Before, nth) {
            match self.perform(act).await {
                Step::GoOn => {}
                Step::Answer(answer) => return answer,
                // These are about the honest reply, so there has to be one.
                Step::Fault(fault @ (Fault::WrongStream | Fault::Twice)) => {
                    let honest = self.honestly(method, payload).await;
                    return honest.map_or_else(Answer::Refuse, |reply| Answer::Faulty(fault, reply));
                }
                Step::Fault(fault) => return Answer::Faulty(fault, Bytes::new()),
            }
        }
        let honest = self.honestly(method, payload).await;
        for act in self.script.due(method, When::After, nth) {
            match self.perform(act).await {
                Step::GoOn => {}
                Step::Answer(answer) => return answer,
                Step::Fault(fault) => return Answer::Faulty(fault, honest.unwrap_or_default()),
            }
        }
        honest.map_or_else(Answer::Refuse, Answer::Reply)
    }

    async fn perform(&self, act: &Act) -> Step {
        match act {
            Act::Ok => {}
            Act::Delay(ms) => sleep(Duration::from_millis(*ms)).await,
            Act::AwaitFile(path) => {
                while !path.exists() {
                    sleep(Duration::from_millis(2)).await;
                }
            }
            Act::Emit(emission) => self.outbox.emit(emission),
            Act::Err { code, text } => {
                return Step::Answer(Answer::Refuse(Failure::new(*code, text.clone())));
            }
            Act::Hang => return Step::Answer(Answer::Never),
            Act::Die => {
                self.die();
                return Step::Answer(Answer::Never);
            }
            Act::Close => {
                self.stop_listening().await;
                return Step::Fault(Fault::Close);
            }
            Act::Raw(_)
            | Act::Oversize
            | Act::WrongStream
            | Act::GarbagePb
            | Act::AnswerTwice
            | Act::CloseThenAcceptNew
            | Act::StopReading => return fault(act).map_or(Step::GoOn, Step::Fault),
        }
        Step::GoOn
    }
}

/// What happens on the wire for an act, if that is where it happens.
fn fault(act: &Act) -> Option<Fault> {
    Some(match act {
        Act::Raw(blob) => Fault::Raw(blob.to_bytes()),
        Act::Oversize => Fault::Oversize,
        Act::WrongStream => Fault::WrongStream,
        Act::GarbagePb => Fault::Garbage,
        Act::AnswerTwice => Fault::Twice,
        Act::Close | Act::CloseThenAcceptNew => Fault::Close,
        Act::StopReading => Fault::StopReading,
        Act::Ok
        | Act::Err { .. }
        | Act::Hang
        | Act::Die
        | Act::Delay(_)
        | Act::AwaitFile(_)
        | Act::Emit(_) => return None,
    })
}

/// What an act leads to.
enum Step {
    GoOn,
    Answer(Answer),
    Fault(Fault),
}

impl Handler for Shim {
    fn call<'a>(
        &'a self,
        service: &'a str,
        method: &'a str,
        metadata: Metadata,
        payload: Bytes,
    ) -> Answering<'a> {
        Box::pin(async move {
            if service == SANDBOX_SERVICE && self.script.sandbox != SandboxService::Absent {
                return match Method::from_sandbox_name(method) {
                    Some(method) => self.answer(method, metadata, payload).await,
                    None => Answer::Refuse(Failure::unimplemented(format!("method {method}"))),
                };
            }
            if service != format!("containerd.task.v{}.Task", self.script.served_version()) {
                return Answer::Refuse(Failure::unimplemented(format!("service {service}")));
            }
            match Method::from_name(method) {
                Some(method) => self.answer(method, metadata, payload).await,
                None => Answer::Refuse(Failure::unimplemented(format!("method {method}"))),
            }
        })
    }

    fn greeting(&self) -> Option<Fault> {
        self.script.on_accept.as_ref().and_then(fault)
    }
}
