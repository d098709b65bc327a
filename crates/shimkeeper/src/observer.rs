// SPDX-License-Identifier: Apache-2.0
//! Somebody who is told what happens between a manager and its shims, to count it. Without one, nothing is measured.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use shimkeeper_core::{HasKind, Kind, Provenance};

use crate::trace::{self, TraceContext};

/// Told what happens, on the way of it: what it does must be short, and never wait.
pub trait Observer: Send + Sync + fmt::Debug {
    /// A shim was asked something, or its binary run, and that is over. `Wait` is not told, which has no time of its own.
    fn asked(&self, asked: &Asked<'_>);

    /// The exit of a process is public, and this is how it is known.
    fn exited(&self, provenance: Provenance);

    /// An event that came in is not passed on.
    fn dropped(&self, why: Dropped);

    /// A shim is about to be asked something as a part of `parent`, which is empty for what the manager does of its own
    /// accord. By default nobody keeps a span of it, and the shim is told of `parent`.
    fn traces(&self, binary: &Path, method: &'static str, parent: &TraceContext) -> Option<Box<dyn Span>> {
        let _ = (binary, method, parent);
        None
    }
}

/// A span that somebody keeps of a question.
pub trait Span: Send {
    /// What the shim is told that it is asked for.
    fn context(&self) -> TraceContext;

    /// The question is over.
    fn ended(self: Box<Self>, outcome: Result<(), Kind>);
}

/// What a shim was asked, and how that ended.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Asked<'a> {
    /// The shim's binary.
    pub binary: &'a Path,
    /// The method, as its service spells it; `launch` and `reap` for the binary's own actions `start` and `delete`.
    pub method: &'static str,
    /// How it ended. `DeadlineExceeded` is the shim's silence, `Canceled` that of a caller who went away.
    pub outcome: Result<(), Kind>,
    /// From the question to its end.
    pub took: Duration,
}

impl<'a> Asked<'a> {
    /// A question and its end.
    pub fn new(binary: &'a Path, method: &'static str, outcome: Result<(), Kind>, took: Duration) -> Self {
        Self { binary, method, outcome, took }
    }
}

/// Why an event that came in is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dropped {
    /// It is of no known form.
    Undecodable,
    /// There is no such task, any more.
    NoTask,
    /// It is not from the shim of its task.
    Foreign,
    /// It tells what was told before, or of an earlier life.
    Stale,
}

impl Dropped {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Undecodable => "undecodable",
            Self::NoTask => "no_task",
            Self::Foreign => "foreign",
            Self::Stale => "stale",
        }
    }
}

/// A question under way. Dropped without an answer, it was given up.
struct Question<'a> {
    observer: &'a dyn Observer,
    binary: &'a Path,
    method: &'static str,
    began: Instant,
    outcome: Result<(), Kind>,
    span: Option<Box<dyn Span>>,
}

/// Asks, and tells the observer how it went.
///
/// # Cancel safety
/// That of `asking`.
pub(crate) async fn observed<T, E: HasKind>(
    observer: Option<&Arc<dyn Observer>>,
    binary: &Path,
    method: &'static str,
    asking: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let mut trace = trace::current();
    let mut question = observer.map(|observer| Question {
        span: observer.traces(binary, method, &trace),
        observer: &**observer,
        binary,
        method,
        began: Instant::now(),
        outcome: Err(Kind::Canceled),
    });
    if let Some(span) = question.as_ref().and_then(|question| question.span.as_ref()) {
        trace = span.context();
    }
    let answer = trace::scoped(trace, asking).await;
    if let Some(question) = &mut question {
        question.outcome = answer.as_ref().map(drop).map_err(HasKind::kind);
    }
    answer
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        let took = self.began.elapsed();
        if let Some(span) = self.span.take() {
            span.ended(self.outcome);
        }
        self.observer.asked(&Asked::new(self.binary, self.method, self.outcome, took));
    }
}

/// The name by which a client asks for a shim with this binary: `io.containerd.runc.v2` for `containerd-shim-runc-v2`.
/// The file's name where it is not of that form.
pub fn runtime_name(binary: &Path) -> String {
    let file = binary.file_name().map(PathBuf::from).unwrap_or_default().to_string_lossy().into_owned();
    let name = file.strip_prefix("containerd-shim-").and_then(|rest| rest.rsplit_once('-'));
    match name {
        Some((name, version)) => format!("io.containerd.{name}.{version}"),
        None => file,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_has_the_name_it_is_asked_for_by() {
        for (binary, name) in [
            ("/usr/bin/containerd-shim-runc-v2", "io.containerd.runc.v2"),
            ("/opt/containerd-shim-kata-qemu-v2", "io.containerd.kata-qemu.v2"),
            ("/opt/my-shim", "my-shim"),
            ("/opt/containerd-shim-odd", "containerd-shim-odd"),
        ] {
            assert_eq!(runtime_name(Path::new(binary)), name);
        }
    }
}
