// SPDX-License-Identifier: Apache-2.0
//! Keeps a panic inside the call it happens in: its caller gets `Internal`, everybody else nothing. Stateless.
//!
//! No handler is meant to panic. But one task serves a whole connection with everything a client does on it, so one
//! bug must not be able to end more than one call.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use tonic::{Code, Status};

/// A future that turns a panic into `None`.
pub(crate) struct Contained<F>(Option<Pin<Box<F>>>);

impl<F: Future> Contained<F> {
    pub(crate) fn new(future: F) -> Self {
        Self(Some(Box::pin(future)))
    }
}

impl<F: Future> Future for Contained<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(future) = self.0.as_mut() else { return Poll::Ready(None) };
        // What a panic leaves of the future is dropped and never looked at.
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

/// The code in the headers or trailers of an answer, if it is there.
pub(crate) fn code_in(headers: &HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|value| Code::from_bytes(value.as_bytes()))
}

/// An answer's body. A panic in it becomes a status, and how it ends is told once.
pub(crate) struct WatchedBody<F: FnOnce(Code)> {
    inner: Option<tonic::body::Body>,
    method: Arc<str>,
    tell: Option<F>,
}

impl<F: FnOnce(Code)> WatchedBody<F> {
    pub(crate) fn new(inner: tonic::body::Body, method: Arc<str>, tell: F) -> Self {
        Self { inner: Some(inner), method, tell: Some(tell) }
    }

    fn ended(&mut self, code: Code) {
        if let Some(tell) = self.tell.take() {
            tell(code);
        }
    }
}

impl<F: FnOnce(Code) + Unpin> Body for WatchedBody<F> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(inner) = self.inner.as_mut() else { return Poll::Ready(None) };
        let Ok(polled) = catch_unwind(AssertUnwindSafe(|| Pin::new(inner).poll_frame(cx))) else {
            self.inner = None;
            self.ended(Code::Internal);
            let mut trailers = HeaderMap::new();
            // A status of our own words always fits into headers.
            let _ = apology(&self.method).add_header(&mut trailers);
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        };
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(code) = frame.trailers_ref().and_then(code_in) {
                    self.ended(code);
                }
            }
            Poll::Ready(Some(Err(status))) => {
                let code = status.code();
                self.ended(code);
            }
            Poll::Ready(None) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }
}

impl<F: FnOnce(Code)> Drop for WatchedBody<F> {
    fn drop(&mut self) {
        // The client left, or the connection went.
        self.ended(Code::Cancelled);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A body that sends something and then panics.
    struct Bad(bool);

    impl Body for Bad {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            assert!(!std::mem::replace(&mut self.0, true), "as a handler with a bug would");
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
        }
    }

    #[tokio::test]
    async fn a_panic_ends_the_future_it_is_in() {
        assert_eq!(Contained::new(async { 1 }).await, Some(1));
        assert_eq!(Contained::new(async { panic!("as a handler with a bug would") }).await, None::<()>);
    }

    #[tokio::test]
    async fn a_panic_in_an_answer_ends_it_with_a_status_that_is_told_once() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = {
            let told = told.clone();
            move |code| told.lock().unwrap().push(code)
        };
        let mut body = WatchedBody::new(tonic::body::Body::new(Bad(false)), "/a.B/C".into(), tell);
        let mut next = async || std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        assert!(next().await.unwrap().unwrap().is_data());
        let trailers = next().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(code_in(&trailers), Some(Code::Internal));
        assert!(next().await.is_none());
        drop(body);
        assert_eq!(*told.lock().unwrap(), [Code::Internal]);
    }
}
