// SPDX-License-Identifier: Apache-2.0
//! Spans for an OpenTelemetry collector.
//!
//! They are made with OpenTelemetry's API itself and not out of the log's spans, so that what is traced does not depend on
//! what is logged. Spans are sent by a thread of the SDK's; one that finds no collector loses them, and nobody waits.

use std::path::Path;
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry::trace::{
    Span as _, SpanContext, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span};
use shimkeeper::{Kind, TraceContext, runtime_name};
use tonic::Code;

use super::asked_by_environment;
use crate::error::DaemonError;

/// How long the last spans may take to be sent when the daemon ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// What the spans are of, unless `OTEL_SERVICE_NAME` says otherwise.
const SERVICE: &str = "shimkeeper";

/// Makes spans. A clone makes them for the same collector.
#[derive(Clone, Debug)]
pub(crate) struct Spans {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

/// The span of a client's call; ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Request(Span);

/// The span of something a shim is asked.
struct Question {
    span: Span,
    /// The client's, which is nobody else's to change.
    baggage: Option<String>,
}

/// Headers, as OpenTelemetry reads them.
struct Incoming<'a>(&'a HeaderMap);

/// A trace context, as OpenTelemetry reads it.
struct Parent<'a>(&'a TraceContext);

/// What goes on the wire.
#[derive(Default)]
struct Outgoing(Vec<(String, String)>);

impl Spans {
    /// Sends spans to `endpoint`, or where OpenTelemetry's variables say; `None` if neither says anything. To be called on
    /// the async runtime, which the sending uses.
    pub(crate) fn start(endpoint: &str) -> Result<Option<Self>, DaemonError> {
        if endpoint.is_empty() && asked_by_environment().is_none() {
            return Ok(None);
        }
        let mut exporter = SpanExporter::builder().with_tonic();
        if !endpoint.is_empty() {
            exporter = exporter.with_endpoint(endpoint);
        }
        let failed = |source| DaemonError::Traces { source: Box::new(source) };
        let exporter = exporter.build().map_err(failed)?;
        let mut resource = Resource::builder();
        if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name(SERVICE);
        }
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let resource = resource.with_attribute(version).build();
        let provider =
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
        let tracer = provider.tracer(SERVICE);
        tracing::info!(endpoint, "spans are sent");
        Ok(Some(Self { provider, tracer }))
    }

    /// Begins the span of a client's call, and has the call say that it is a part of it.
    pub(crate) fn request<B>(&self, request: &mut http::Request<B>) -> Request {
        let parent =
            TraceContextPropagator::new().extract_with_context(&Context::new(), &Incoming(request.headers()));
        let path = request.uri().path().trim_start_matches('/').to_owned();
        let (service, method) = path.split_once('/').unwrap_or((path.as_str(), ""));
        let attributes = [
            KeyValue::new("rpc.system", "grpc"),
            KeyValue::new("rpc.service", service.to_owned()),
            KeyValue::new("rpc.method", method.to_owned()),
        ];
        let namespace = request.headers().get("containerd-namespace").and_then(|name| name.to_str().ok());
        let namespace = namespace.map(|name| KeyValue::new("containerd.namespace", name.to_owned()));
        let builder = self.tracer.span_builder(path.clone()).with_kind(SpanKind::Server);
        let builder = builder.with_attributes(attributes.into_iter().chain(namespace));
        let span = self.tracer.build_with_context(builder, &parent);
        for (name, value) in pairs(span.span_context()) {
            if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(&value)) {
                request.headers_mut().insert(name, value);
            }
        }
        Request(span)
    }

    /// Begins the span of something a shim is asked for a traced call.
    pub(crate) fn question(
        &self,
        binary: &Path,
        method: &'static str,
        parent: &TraceContext,
    ) -> Option<Box<dyn shimkeeper::Span>> {
        parent.traceparent()?;
        let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &Parent(parent));
        let builder = self.tracer.span_builder(format!("shim/{method}")).with_kind(SpanKind::Client);
        let attributes = [
            KeyValue::new("rpc.system", "ttrpc"),
            KeyValue::new("rpc.method", method),
            KeyValue::new("shimkeeper.runtime", runtime_name(binary)),
        ];
        let span = self.tracer.build_with_context(builder.with_attributes(attributes), &context);
        let baggage = parent.pairs().find(|(key, _)| *key == "baggage").map(|(_, value)| value.to_owned());
        Some(Box::new(Question { span, baggage }))
    }

    /// Sends what is left, within a moment.
    ///
    /// # Cancel safety
    /// Dropping it goes on sending in the background.
    pub(crate) async fn end(self) {
        // The SDK waits for its thread, and no thread of the runtime must wait.
        let ended = tokio::task::spawn_blocking(move || self.provider.shutdown_with_timeout(FAREWELL)).await;
        if let Ok(Err(error)) = ended {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

impl Request {
    /// Takes in what headers or trailers say of the call's end.
    pub(crate) fn told(&mut self, headers: &HeaderMap) {
        let Some(code) = headers.get("grpc-status") else { return };
        let code = Code::from_bytes(code.as_bytes());
        self.0.set_attribute(KeyValue::new("rpc.grpc.status_code", i64::from(i32::from(code))));
        if code != Code::Ok {
            self.0.set_status(Status::error(code.description()));
        }
    }
}

impl shimkeeper::Span for Question {
    fn context(&self) -> TraceContext {
        let pairs = pairs(self.span.span_context());
        let baggage = self.baggage.as_deref().map(|baggage| ("baggage", baggage));
        TraceContext::from_pairs(
            pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).chain(baggage),
        )
    }

    fn ended(mut self: Box<Self>, outcome: Result<(), Kind>) {
        let code = outcome.map_or_else(Kind::code, |()| 0);
        self.span.set_attribute(KeyValue::new("rpc.grpc.status_code", i64::from(code)));
        if let Err(kind) = outcome {
            self.span.set_status(Status::error(kind.as_str()));
        }
    }
}

/// A span's context as it goes on the wire.
fn pairs(context: &SpanContext) -> Vec<(String, String)> {
    let mut outgoing = Outgoing::default();
    let context = Context::new().with_remote_span_context(context.clone());
    TraceContextPropagator::new().inject_context(&context, &mut outgoing);
    outgoing.0.retain(|(_, value)| !value.is_empty());
    outgoing.0
}

impl Extractor for Incoming<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

impl Extractor for Parent<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.pairs().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.pairs().map(|(name, _)| name).collect()
    }
}

impl Injector for Outgoing {
    fn set(&mut self, key: &str, value: String) {
        self.0.push((key.to_owned(), value));
    }
}

#[cfg(test)]
mod collector;
#[cfg(test)]
mod tests;
