// SPDX-License-Identifier: Apache-2.0
//! A call whose answer is long in coming. Every process of every task is waited for by one, so over ttrpc it takes no more
//! than the place that the answer is put in: request, metadata and deadline are gone once it is sent.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use prost::Message;
use shimkeeper_ttrpc::Begun;

use crate::call::{CallError, Cause};

/// The answer to a call that was sent. It comes at the latest when the wire is closed; whether that is so when only this
/// share of it is hung up is left open.
#[must_use = "dropped, the call is given up"]
pub struct LongAnswer<R> {
    method: &'static str,
    form: Form<R>,
}

pub(super) enum Form<R> {
    Ttrpc(Begun),
    Any(Pin<Box<dyn Future<Output = Result<R, CallError>> + Send>>),
}

impl<R> LongAnswer<R> {
    pub(super) fn new(method: &'static str, form: Form<R>) -> Self {
        Self { method, form }
    }
}

impl<R: Message + Default> Future for LongAnswer<R> {
    type Output = Result<R, CallError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let method = self.method;
        match &mut self.form {
            Form::Ttrpc(answer) => {
                let answer = ready!(Pin::new(answer).poll(context)).map_err(Cause::from);
                let read =
                    answer.and_then(|bytes| R::decode(bytes).map_err(|error| Cause::unreadable(&error)));
                Poll::Ready(read.map_err(|cause| CallError::new(method, cause)))
            }
            Form::Any(answer) => answer.as_mut().poll(context),
        }
    }
}

impl<R> fmt::Debug for LongAnswer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LongAnswer").field("method", &self.method).finish_non_exhaustive()
    }
}
