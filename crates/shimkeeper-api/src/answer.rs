// SPDX-License-Identifier: Apache-2.0
//! The answer to a call as HTTP/2 has it: messages, then a status; and whoever observes is told once how it ended.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Response};
use http_body::{Body, Frame};
use tonic::{Code, Status};

use crate::contain;
use crate::message;
use crate::method::{Messages, Reply};

const STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// So many bytes of messages that are there already go into one frame.
const ENOUGH: usize = 32 << 10;

/// Somebody who is told how calls end.
pub trait Observer: Send + Sync {
    /// A call of this method (`/package.Service/Method`, always one that there is) ended with this gRPC code; a stream
    /// when it ended, which is [`Code::Cancelled`] when the client left.
    fn called(&self, method: &str, code: Code, took: Duration);
}

/// The body of an answer.
pub struct Answer {
    rest: Rest,
    telling: Telling,
}

/// What has not been sent of it.
enum Rest {
    Nothing,
    One(Bytes),
    Many(Messages),
    End(Result<(), Status>),
}

/// Tells how a call ended, once.
pub(crate) struct Telling {
    observer: Option<Arc<dyn Observer>>,
    method: Arc<str>,
    began: Instant,
}

/// An answer that succeeds, or is only a status.
pub(crate) fn of(outcome: Result<tonic::Response<Reply>, Status>, mut telling: Telling) -> Response<Answer> {
    let (metadata, reply) = match outcome {
        Ok(response) => {
            let (metadata, reply, _) = response.into_parts();
            (metadata, reply)
        }
        Err(status) => {
            telling.ended(status.code());
            return refusal(status);
        }
    };
    let rest = match reply {
        Reply::One(message) => Rest::One(message),
        Reply::Many(messages) => Rest::Many(messages),
    };
    let mut response = Response::new(Answer { rest, telling });
    let headers = response.headers_mut();
    // Of just its size: each call has one.
    *headers = HeaderMap::with_capacity(1);
    headers.extend(metadata.into_headers());
    headers.insert(CONTENT_TYPE, tonic::metadata::GRPC_CONTENT_TYPE);
    response
}

/// An answer that is nothing but a status, of a call that nobody is told of.
pub fn refusal(status: Status) -> Response<Answer> {
    let telling = Telling { observer: None, method: "".into(), began: Instant::now() };
    status.into_http::<()>().map(|()| Answer { rest: Rest::Nothing, telling })
}

fn trailers(end: Result<(), Status>) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(1);
    match end {
        Ok(()) => {
            trailers.insert(STATUS, HeaderValue::from_static("0"));
        }
        Err(status) => {
            if let Err(status) = status.add_header(&mut trailers) {
                // The one that says so always fits into headers.
                let _ = status.add_header(&mut trailers);
            }
        }
    }
    trailers
}

// === impl Answer ===

impl Answer {
    /// The next messages of a stream, as many as there are; or its end.
    fn poll_messages(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        let Rest::Many(messages) = &mut self.rest else { return Poll::Ready(Bytes::new()) };
        let mut whole = Vec::new();
        while whole.len() < ENOUGH {
            let end = match messages.as_mut().poll_next(cx) {
                Poll::Pending if whole.is_empty() => return Poll::Pending,
                Poll::Pending => break,
                Poll::Ready(None) => Ok(()),
                Poll::Ready(Some(next)) => match next.and_then(|next| message::append(&mut whole, &next)) {
                    Ok(()) => continue,
                    Err(status) => Err(status),
                },
            };
            self.rest = Rest::End(end);
            break;
        }
        Poll::Ready(whole.into())
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Rest::Many(_) = self.rest {
            let polled = catch_unwind(AssertUnwindSafe(|| self.poll_messages(cx)));
            match polled {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(data)) if data.is_empty() => {}
                Ok(Poll::Ready(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                // What a panic leaves of the stream is dropped and never looked at.
                Err(_) => self.rest = Rest::End(Err(contain::apology(&self.telling.method))),
            }
        }
        Poll::Ready(match std::mem::replace(&mut self.rest, Rest::Nothing) {
            Rest::One(message) => {
                self.rest = Rest::End(Ok(()));
                Some(Ok(Frame::data(message)))
            }
            Rest::End(end) => {
                self.telling.ended(end.as_ref().map_or_else(Status::code, |()| Code::Ok));
                Some(Ok(Frame::trailers(trailers(end))))
            }
            Rest::Nothing | Rest::Many(_) => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.rest, Rest::Nothing)
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").field("method", &self.telling.method).finish_non_exhaustive()
    }
}

// === impl Telling ===

impl Telling {
    pub(crate) fn new(observer: Option<Arc<dyn Observer>>, method: Arc<str>, began: Instant) -> Self {
        Self { observer, method, began }
    }

    pub(crate) fn method(&self) -> &str {
        &self.method
    }

    fn ended(&mut self, code: Code) {
        if let Some(observer) = self.observer.take() {
            observer.called(&self.method, code, self.began.elapsed());
        }
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        // The client left, or the connection went.
        self.ended(Code::Cancelled);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tonic::codegen::tokio_stream::{self, Stream};

    use super::*;

    #[derive(Default)]
    struct Told(Mutex<Vec<Code>>);

    impl Observer for Told {
        fn called(&self, _method: &str, code: Code, _took: Duration) {
            self.0.lock().unwrap().push(code);
        }
    }

    fn answer(reply: Reply) -> (Arc<Told>, Answer) {
        let told = Arc::new(Told::default());
        let telling = Telling::new(Some(told.clone()), "/a.B/C".into(), Instant::now());
        (told, of(Ok(tonic::Response::new(reply)), telling).into_body())
    }

    async fn next(body: &mut Answer) -> Option<Frame<Bytes>> {
        std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await.map(Result::unwrap)
    }

    fn code(end: Frame<Bytes>) -> Code {
        Code::from_bytes(end.into_trailers().unwrap()[STATUS].as_bytes())
    }

    /// A stream that has a message and then panics.
    struct Bad(bool);

    impl Stream for Bad {
        type Item = Result<Bytes, Status>;

        fn poll_next(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            assert!(!std::mem::replace(&mut self.0, true), "as a handler with a bug would");
            Poll::Ready(Some(Ok(vec![b'x'; ENOUGH].into())))
        }
    }

    #[tokio::test]
    async fn a_panic_in_an_answer_ends_it_with_a_status_that_is_told_once() {
        let (told, mut body) = answer(Reply::Many(Box::pin(Bad(false))));
        assert!(next(&mut body).await.unwrap().is_data());
        assert_eq!(code(next(&mut body).await.unwrap()), Code::Internal);
        assert!(next(&mut body).await.is_none());
        drop(body);
        assert_eq!(*told.0.lock().unwrap(), [Code::Internal]);
    }

    #[tokio::test]
    async fn messages_that_are_there_go_together_and_before_the_end() {
        let items = [Ok(Bytes::from_static(b"a")), Ok(Bytes::new()), Err(Status::aborted("enough"))];
        let (told, mut body) = answer(Reply::Many(Box::pin(tokio_stream::iter(items))));
        let data = next(&mut body).await.unwrap().into_data().unwrap();
        assert_eq!(data, b"\0\0\0\0\x01a\0\0\0\0\0"[..]);
        assert_eq!(code(next(&mut body).await.unwrap()), Code::Aborted);
        assert!(body.is_end_stream());
        assert_eq!(*told.0.lock().unwrap(), [Code::Aborted]);
    }

    #[tokio::test]
    async fn who_leaves_in_the_middle_cancels() {
        let (told, mut body) = answer(Reply::One(Bytes::from_static(b"\0\0\0\0\0")));
        assert!(next(&mut body).await.unwrap().is_data());
        assert!(!body.is_end_stream());
        drop(body);
        assert_eq!(*told.0.lock().unwrap(), [Code::Cancelled]);
    }
}
