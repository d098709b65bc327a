// SPDX-License-Identifier: Apache-2.0
//! From the ledger's notices to events on the exchange. Publishing is synchronous and never waits for a subscriber.
//!
//! What the ledger decides and what the exchange gets happen under one lock per shim: decided here and published
//! there, an exit could overtake its start, or come after the delete.

use std::sync::Arc;

use shimkeeper_core::{ProcessKey, SandboxKey};
use shimkeeper_events::{Envelope, TaskEvent, Topic};

use crate::ledger::{Ledger, Notice};
use crate::role::Role;
use crate::shim::Shim;

/// Has the ledger decide what is to be published, and publishes it; `reported` is the shim's own event, where there is
/// one. Answers whether there was anything.
pub(crate) fn decided(
    shim: &Shim,
    reported: Option<&Arc<Envelope>>,
    decide: impl FnOnce(&Ledger) -> Vec<Notice>,
) -> bool {
    let mut voice = shim.voice.speak();
    let notices = decide(&shim.ledger);
    let has_any = !notices.is_empty();
    let has_end = notices.iter().any(|notice| is_of_end(notice, reported));
    for notice in notices {
        tell_observer(shim, &notice, reported);
        if shim.role == Role::Sandbox {
            if let Some(envelope) = of_sandbox(&SandboxKey::of_bundle_key(&shim.key), &notice) {
                shim.env.publish(&Arc::new(envelope), shim.is_found);
            }
            continue;
        }
        let envelope = match (notice, reported) {
            (Notice::AsReported, Some(reported)) => reported.clone(),
            (Notice::AsReported, None) => continue,
            (Notice::Create { pid }, _) => {
                Arc::new(Envelope::task_create(&shim.key, &shim.bundle.dir(), pid))
            }
            (Notice::Start(process, pid), _) => Arc::new(Envelope::process_started(&shim.key, &process, pid)),
            (Notice::ExecAdded(id), _) => Arc::new(Envelope::exec_added(&shim.key, &id)),
            (Notice::Exit(process, exit), _) => Arc::new(Envelope::task_exit(&shim.key, &process, &exit)),
            (Notice::Delete(exit), _) => Arc::new(Envelope::task_delete(&shim.key, &ProcessKey::Init, &exit)),
        };
        shim.env.publish(&envelope, shim.is_found);
    }
    if has_end {
        voice.told_an_end(&shim.env);
    }
    has_any
}

/// Whether a notice is of what the record notes down once it is told.
fn is_of_end(notice: &Notice, reported: Option<&Arc<Envelope>>) -> bool {
    let is_reported_end =
        |reported: &Arc<Envelope>| [Topic::TASK_EXIT, Topic::TASK_DELETE].contains(reported.topic());
    match notice {
        Notice::Exit(..) | Notice::Delete(_) => true,
        Notice::AsReported => reported.is_some_and(is_reported_end),
        Notice::Create { .. } | Notice::Start(..) | Notice::ExecAdded(_) => false,
    }
}

/// Tells whoever observes of a process's end.
fn tell_observer(shim: &Shim, notice: &Notice, reported: Option<&Arc<Envelope>>) {
    let Some(observer) = &shim.env.config.observer else { return };
    let exit = match (notice, reported) {
        (Notice::Exit(_, exit), _) => Some(*exit),
        (Notice::AsReported, Some(reported)) if *reported.topic() == Topic::TASK_EXIT => {
            // It is on record before it is passed on, and maybe from another source.
            match TaskEvent::decode(reported) {
                Ok(Some((_, TaskEvent::Exit { process, .. }))) => shim.ledger.exit(&process),
                _ => None,
            }
        }
        _ => None,
    };
    if let Some(exit) = exit {
        observer.exited(exit.provenance);
    }
}

/// The event of a sandbox, which ends without being deleted in public.
fn of_sandbox(key: &SandboxKey, notice: &Notice) -> Option<Envelope> {
    match notice {
        Notice::Create { .. } => Some(Envelope::sandbox_create(key)),
        Notice::Start(..) => Some(Envelope::sandbox_start(key)),
        Notice::Exit(_, exit) => Some(Envelope::sandbox_exit(key, exit)),
        Notice::AsReported | Notice::ExecAdded(_) | Notice::Delete(_) => None,
    }
}

/// Publishes what is still owed when a task is over.
pub(crate) fn end(shim: &Shim) {
    decided(shim, None, Ledger::finish);
}
