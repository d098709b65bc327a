// SPDX-License-Identifier: Apache-2.0
//! Traces: a span for each call of a client, one in it for each thing a shim is asked for it.
//!
//! ```text
//! client ── traceparent ──▶ span of the call ── traceparent ──▶ span of the question ── traceparent ──▶ shim
//!                                └──────────── OTLP over gRPC ─────────────┘
//! ```
//! By the cargo feature `otel`; without it a client's context is passed on to the shims as it came, and a configuration
//! that wants more is refused. What the daemon does of its own accord belongs to no trace.

#[cfg(feature = "otel")]
mod otel;
#[cfg(not(feature = "otel"))]
mod without;

#[cfg(feature = "otel")]
pub(crate) use otel::{Request, Spans};
#[cfg(not(feature = "otel"))]
pub(crate) use without::{Request, Spans};

/// Where OpenTelemetry's own variables say that spans go. The first one that is set counts.
const VARIABLES: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// Why spans cannot go to this endpoint; nothing if they can.
pub(crate) fn objection(endpoint: &str) -> Option<String> {
    if endpoint.is_empty() {
        return None;
    }
    if cfg!(not(feature = "otel")) {
        let text = "this program was built without traces: build it with the cargo feature `otel`, or leave the key out";
        return Some(text.to_owned());
    }
    let is_plain = endpoint.strip_prefix("http://").is_some_and(|rest| !rest.is_empty());
    (!is_plain)
        .then(|| format!("{endpoint:?} is not http://HOST:PORT of a collector that takes OTLP over gRPC"))
}

/// The variable that asks for spans, if one does.
fn asked_by_environment() -> Option<&'static str> {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_off = std::env::var("OTEL_SDK_DISABLED").is_ok_and(|value| value.eq_ignore_ascii_case("true"));
    VARIABLES.into_iter().find(|name| is_set(name)).filter(|_| !is_off)
}
