// SPDX-License-Identifier: Apache-2.0
//! Keeps a panic inside the call it happens in: its caller gets `Internal`, everybody else nothing. Stateless.
//!
//! No handler is meant to panic. But one task serves a whole connection with everything a client does on it, so one
//! bug must not be able to end more than one call.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use tonic::Status;

/// A future that turns a panic into `None`.
pub(crate) struct Contained<'a, F>(Option<Pin<&'a mut F>>);

impl<'a, F: Future> Contained<'a, F> {
    pub(crate) fn new(future: Pin<&'a mut F>) -> Self {
        Self(Some(future))
    }
}

impl<F: Future> Future for Contained<'_, F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(future) = self.0.as_mut() else { return Poll::Ready(None) };
        // What a panic leaves of the future is never looked at.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Some(output)),
            Err(_) => {
                self.0 = None;
                Poll::Ready(None)
            }
        }
    }
}

/// What the caller of a call that panicked is told.
pub(crate) fn apology(method: &str) -> Status {
    tracing::error!(method, "a call panicked, which is a bug in shimkeeper");
    Status::internal(format!("{method} failed by a bug in shimkeeper that its log tells of: internal"))
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[tokio::test]
    async fn a_panic_ends_the_future_it_is_in() {
        assert_eq!(Contained::new(pin!(async { 1 })).await, Some(1));
        let bad = pin!(async { panic!("as a handler with a bug would") });
        assert_eq!(Contained::new(bad).await, None::<()>);
    }
}
