// SPDX-License-Identifier: Apache-2.0
//! The trace that work is a part of: set around a future by whoever asked for it, and handed to the shims with every
//! call that is made for that work. What the manager does of its own accord belongs to no trace.

use std::future::Future;

pub use shimkeeper_shim::TraceContext;

tokio::task_local! {
    static TRACE: TraceContext;
}

/// Does some work as a part of a trace: every call to a shim that is made for it carries the context.
///
/// # Cancel safety
/// That of the work.
pub async fn traced<F: Future>(trace: TraceContext, work: F) -> F::Output {
    if trace.is_empty() {
        return work.await;
    }
    TRACE.scope(trace, work).await
}

/// Does some work as a part of this trace and no other.
pub(crate) fn scoped<F: Future>(trace: TraceContext, work: F) -> impl Future<Output = F::Output> {
    TRACE.scope(trace, work)
}

/// The trace that the caller's work is a part of.
pub(crate) fn current() -> TraceContext {
    TRACE.try_with(Clone::clone).unwrap_or_default()
}

/// Work for the same trace on a task of its own.
pub(crate) fn inherited<F: Future>(work: F) -> impl Future<Output = F::Output> {
    traced(current(), work)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> TraceContext {
        TraceContext::from_pairs([("baggage", "user=alice")])
    }

    #[tokio::test]
    async fn a_trace_is_that_of_the_work_and_of_what_inherits_it() {
        let (own, task, inherited) = traced(context(), async {
            let mut tasks = tokio::task::JoinSet::new();
            tasks.spawn(async { current() });
            let task = tasks.join_next().await.unwrap().unwrap();
            tasks.spawn(inherited(async { current() }));
            (current(), task, tasks.join_next().await.unwrap().unwrap())
        })
        .await;
        assert_eq!((own, inherited), (context(), context()));
        assert!(task.is_empty() && current().is_empty());
    }
}
