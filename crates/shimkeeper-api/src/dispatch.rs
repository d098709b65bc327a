// SPDX-License-Identifier: Apache-2.0
//! From a request's path to the service that answers it, and what holds for every call: its deadline, its panics, its
//! end told to an observer. Knows no method's meaning.

mod table;

use std::convert::Infallible;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::{HeaderMap, Request, Response};
use http_body::Body;
use tonic::Status;
use tonic::codegen::{BoxFuture, Service};
use tonic::metadata::MetadataMap;

use crate::answer::{self, Answer, Observer, Telling};
use crate::caller::Deadline;
use crate::contain::{self, Contained};
use crate::inner::Inner;
use crate::method::Reply;
use crate::{message, status};
use table::{Entry, Served};

/// Header with the time a client gives a call.
const TIMEOUT: &str = "grpc-timeout";

/// How much later than its deadline a call is cut off. The library is told the deadline, ends what it does by then, and
/// says what was not done; this is for all else.
const GRACE: Duration = Duration::from_millis(250);

/// What the methods of services nobody serves here are told. containerd has them; people who meet this have a client
/// that wants more than shims.
const ELSEWHERE: &str = "shimkeeper runs containers on shims and keeps their records; it has no images, content, \
     snapshots, diffs or transfers, so this call is not served here";

/// The API as one service. A clone serves the same.
#[derive(Clone)]
pub struct Api {
    services: Arc<[Entry]>,
    observer: Option<Arc<dyn Observer>>,
}

impl Api {
    pub(crate) fn new(inner: &Arc<Inner>, observer: Option<Arc<dyn Observer>>) -> Self {
        let services = table::running(inner).into_iter().chain(table::records(inner)).collect();
        Self { services, observer }
    }

    /// The names of the services there are.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.services.iter().map(|entry| entry.name)
    }

    /// The method of a path, if there is such.
    fn find(&self, path: &str) -> Result<Arc<Served>, Status> {
        let service =
            path.strip_prefix('/').and_then(|path| path.split_once('/')).map_or(path, |(name, _)| name);
        let entry = self.services.iter().find(|entry| entry.name == service);
        let entry = entry.ok_or_else(|| {
            status::of(shimkeeper::Kind::NotImplemented, format!("unknown service {service}: {ELSEWHERE}"))
        })?;
        let method = entry.methods.iter().find(|known| *known.path == *path);
        method.cloned().ok_or_else(|| {
            let method = path.rsplit('/').next().unwrap_or_default();
            Status::unimplemented(format!("unknown method {method} for service {service}"))
        })
    }
}

impl<B> Service<Request<B>> for Api
where
    B: Body<Data = bytes::Bytes> + Send + 'static,
{
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Answer>, Infallible>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let served = match self.find(request.uri().path()) {
            Ok(served) => served,
            Err(status) => return Box::pin(std::future::ready(Ok(answer::refusal(status)))),
        };
        let (allowed, began) = (allowed(request.headers()), Instant::now());
        if let Some(deadline) = allowed.and_then(|allowed| began.checked_add(allowed)) {
            request.extensions_mut().insert(Deadline(deadline));
        }
        let telling = Telling::new(self.observer.clone(), served.path.clone(), began);
        Box::pin(async move {
            let work = pin!(served.answer(request));
            let work = Contained::new(work);
            let outcome = match allowed {
                None => Ok(work.await),
                Some(allowed) => tokio::time::timeout(allowed.saturating_add(GRACE), work).await,
            };
            let outcome = match outcome {
                Ok(Some(outcome)) => outcome,
                Ok(None) => Err(contain::apology(telling.method())),
                Err(_) => Err(Status::deadline_exceeded("context deadline exceeded")),
            };
            Ok(answer::of(outcome, telling))
        })
    }
}

impl Served {
    /// Reads a request and does what it asks for, as a part of its client's trace.
    async fn answer<B>(&self, request: Request<B>) -> Result<tonic::Response<Reply>, Status>
    where
        B: Body<Data = bytes::Bytes>,
    {
        let (http::request::Parts { headers, extensions, .. }, body) = request.into_parts();
        let message = message::read(body).await?;
        let trace = trace(&headers);
        let request = tonic::Request::from_parts(MetadataMap::from_headers(headers), extensions, message);
        shimkeeper::traced(trace, (self.call)(request)).await
    }
}

/// The trace that a call is a part of, as its client says.
fn trace(headers: &HeaderMap) -> shimkeeper::TraceContext {
    let pairs = headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    shimkeeper::TraceContext::from_pairs(pairs)
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// The time a client gives a call: up to eight digits and a unit. What is no such text is as if it were not there.
fn allowed(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_read_as_grpc_writes_it() {
        let read = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(TIMEOUT, http::HeaderValue::from_static(text));
            allowed(&headers)
        };
        assert_eq!(read("2S"), Some(Duration::from_secs(2)));
        assert_eq!(read("99999999H"), Some(Duration::from_hours(99_999_999)));
        assert_eq!(read("1500m"), Some(Duration::from_millis(1500)));
        for text in ["", "S", "2", "2x", "-2S", "123456789S", "2 S", "0x2S", "+2S"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
