// SPDX-License-Identifier: Apache-2.0
//! From everybody's errors to the status a client gets: the one place where codes and texts are made.
//!
//! Clients decide by the code, and some look for words in the text: `…: <words for the code>` at its end, which Go's
//! client strips and adds again; `failed to create shim task: ` before what a shim said; and the shim's own words, so
//! those stay as they came, with the shim's own code.

use shimkeeper::{Cause, Error, HasKind, Kind, ProcessKey, Refused, Step};
use shimkeeper_core::{IdError, chain};
use shimkeeper_events::FilterError;
use shimkeeper_store::StoreError;
use tonic::{Code, Status};

/// Grammar of identifiers, as containerd spells it.
const GRAMMAR: &str = "^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$";

/// Longest text, in bytes. It travels as a header, and a client may have put megabytes into what is quoted here.
const MAX_TEXT: usize = 16 << 10;

/// A failure of this kind; the text gets the words for the kind at its end.
pub(crate) fn of(kind: Kind, text: impl Into<String>) -> Status {
    let (mut text, words) = (text.into(), words(kind));
    if !text.ends_with(words) {
        text.push_str(": ");
        text.push_str(words);
    }
    verbatim(kind, text)
}

/// A failure of this kind with this text and nothing added.
pub(crate) fn verbatim(kind: Kind, text: impl Into<String>) -> Status {
    let mut text = text.into();
    if text.len() > MAX_TEXT {
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        text.push('…');
    }
    Status::new(Code::from_i32(kind.code()), text)
}

/// Something that is missing from a request.
pub(crate) fn missing(what: &str) -> Status {
    of(Kind::InvalidArgument, format!("{what} is required"))
}

/// There is no such task, though there may be a container of that id.
pub(crate) fn no_task(id: &str) -> Status {
    verbatim(Kind::NotFound, format!("task {id} not found"))
}

/// There is no such exec.
pub(crate) fn no_process(exec: &str) -> Status {
    of(Kind::NotFound, format!("process does not exist {exec}"))
}

/// What has ended is not started again. Shims say it without a code.
pub(crate) fn ended() -> Status {
    verbatim(Kind::Unknown, "cannot start a stopped process")
}

/// There is no such sandbox.
pub(crate) fn no_sandbox(id: &str) -> Status {
    of(Kind::NotFound, format!("sandbox {id:?}"))
}

/// What the library failed with.
pub(crate) fn of_library(error: &Error) -> Status {
    match error.cause() {
        Cause::Call(call) => match call.shim_message() {
            Some(said) => {
                // A full disk is nobody's secret; all else is the shim's to classify.
                let full = error.kind() == Kind::ResourceExhausted;
                let kind = if full { Kind::ResourceExhausted } else { call.kind() };
                verbatim(kind, format!("{}{said}", preamble(error)))
            }
            None => of(error.kind(), format!("{}{error}", preamble(error))),
        },
        Cause::Refused(refused) => of_refused(refused, error),
        Cause::Resolve(cause) => {
            of(error.kind(), format!("failed to start shim: failed to resolve runtime path: {cause}"))
        }
        Cause::Id(cause) => of_id(cause),
        _ => of(error.kind(), format!("{}{error}", preamble(error))),
    }
}

/// What the library itself refuses, in the words containerd or its shims have for it.
fn of_refused(refused: &Refused, error: &Error) -> Status {
    let id = error.key().map_or("", |key| key.id.as_str());
    let exec = error.process().map_or("", ProcessKey::exec_id);
    match refused {
        Refused::NoSuchTask | Refused::BeingCreated => no_task(id),
        Refused::NoSuchExec => no_process(exec),
        Refused::NoSuchSandbox => no_sandbox(id),
        Refused::SandboxExists => of(Kind::AlreadyExists, format!("sandbox {id:?}")),
        Refused::TaskExists => of(Kind::AlreadyExists, format!("task {id}")),
        Refused::ExecExists => of(Kind::AlreadyExists, format!("id {exec}")),
        // Shims say these three without a code, and clients know them without.
        Refused::StillRunning => {
            verbatim(Kind::Unknown, format!("{}cannot delete a running process", preamble(error)))
        }
        Refused::AlreadyStarted => verbatim(Kind::Unknown, "cannot start a running process"),
        Refused::TaskEnded => verbatim(Kind::Unknown, "cannot exec in a stopped state"),
        _ => of(error.kind(), error.to_string()),
    }
}

/// What containerd puts before a failure of this step.
fn preamble(error: &Error) -> &'static str {
    let of_exec = matches!(error.process(), Some(ProcessKey::Exec(_)));
    match error.step() {
        Step::Call("Create") | Step::Check | Step::Bundle => "failed to create shim task: ",
        Step::Call("Delete") if !of_exec => "failed to delete task: ",
        Step::Launch | Step::Dial | Step::Probe => "failed to start shim: ",
        _ => "",
    }
}

/// What the store failed with. It has containerd's texts itself.
pub(crate) fn of_store(error: &StoreError) -> Status {
    verbatim(error.kind(), chain(error))
}

/// A text that is no identifier.
pub(crate) fn of_id(error: &IdError) -> Status {
    let text = match error {
        IdError::Empty { .. } => "identifier must not be empty".to_owned(),
        IdError::TooLong { .. } => "identifier greater than maximum length (76 characters)".to_owned(),
        IdError::Pattern { id, .. } => format!("identifier {id:?} must match {GRAMMAR}"),
        IdError::Reserved { .. } => error.to_string(),
    };
    of(Kind::InvalidArgument, text)
}

/// A text that is no filter.
pub(crate) fn of_filter(error: &FilterError) -> Status {
    of(error.kind(), format!("filters: parse error: {error}"))
}

/// The same failure as a part of another.
pub(crate) fn within(what: &str, status: &Status) -> Status {
    Status::new(status.code(), format!("{what}{}", status.message()))
}

/// The words for a kind as containerd's clients know them.
fn words(kind: Kind) -> &'static str {
    match kind {
        Kind::Canceled => "context canceled",
        Kind::DeadlineExceeded => "context deadline exceeded",
        other => other.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_for_the_code_stand_at_the_end_once() {
        let status = of(Kind::NotFound, "container \"c1\" in namespace \"ns\"");
        assert_eq!(status.message(), "container \"c1\" in namespace \"ns\": not found");
        assert_eq!(of(Kind::NotFound, status.message()).message(), status.message());
        assert_eq!(no_task("c1").message(), "task c1 not found");
        assert_eq!((status.code(), no_task("c1").code()), (Code::NotFound, Code::NotFound));
    }

    #[test]
    fn every_kind_has_its_code() {
        for kind in Kind::all() {
            assert_eq!(i32::from(of(kind, "x").code()), kind.code());
        }
    }
}
