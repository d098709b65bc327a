// SPDX-License-Identifier: Apache-2.0
//! No spans: the types are there and can have no value, so nothing of it is in the program.

use std::path::Path;

use http::HeaderMap;
use shimkeeper::TraceContext;

use super::asked_by_environment;
use crate::error::DaemonError;

#[derive(Clone, Debug)]
pub(crate) enum Spans {}

#[derive(Debug)]
pub(crate) enum Request {}

impl Spans {
    /// There are none; says so if the environment asks for some. A configuration that does has been refused.
    #[expect(clippy::unnecessary_wraps, reason = "with the feature there may be no way to the collector")]
    pub(crate) fn start(_endpoint: &str) -> Result<Option<Self>, DaemonError> {
        if let Some(variable) = asked_by_environment() {
            tracing::warn!(
                variable,
                "this program was built without traces (cargo feature `otel`): no spans are sent"
            );
        }
        Ok(None)
    }

    pub(crate) fn request<B>(&self, _request: &mut http::Request<B>) -> Request {
        match *self {}
    }

    pub(crate) fn question(
        &self,
        _binary: &Path,
        _method: &'static str,
        _parent: &TraceContext,
    ) -> Option<Box<dyn shimkeeper::Span>> {
        match *self {}
    }

    pub(crate) fn end(self) -> std::future::Ready<()> {
        match self {}
    }
}

impl Request {
    pub(crate) fn told(&mut self, _headers: &HeaderMap) {
        match *self {}
    }
}
