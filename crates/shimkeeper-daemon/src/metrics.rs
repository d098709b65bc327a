// SPDX-License-Identifier: Apache-2.0
//! Figures about the daemon, for Prometheus. Only where the configuration gives them an address is anything measured.
//!
//! ```text
//! calls to shims, exits ── shimkeeper::Observer ─────┐
//! calls of clients ─────── shimkeeper_api::Observer ─┴▶ Counted ─┐
//! shims, events, records, connections ── looked at when asked ───┼▶ Metrics ─▶ GET /metrics
//! the process ── /proc/self, when asked ─────────────────────────┘
//! ```
//! No label names a container: their number is not ours to bound. Every figure is in `docs/metrics.md`.

mod counted;
mod endpoint;
mod process;
mod sampled;

use prometheus_client::encoding::prometheus_text;
use prometheus_client::registry::Registry;

use crate::controls::Parts;

pub(crate) use counted::Counted;
pub(crate) use endpoint::Endpoint;

/// What every name of ours begins with.
const PREFIX: &str = "shimkeeper";

/// Every figure there is.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
}

impl Metrics {
    pub(crate) fn new(counted: &Counted, parts: Parts) -> Self {
        let mut registry = Registry::default();
        let ours = registry.sub_registry_with_prefix(PREFIX);
        counted.register(ours);
        ours.register_collector(Box::new(parts));
        registry.register_collector(Box::new(process::Process));
        Self { registry }
    }

    /// Everything as text, in the form of [`prometheus_text::CONTENT_TYPE`].
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        if prometheus_text::encode(&mut text, &self.registry).is_err() {
            // A string takes whatever it is given.
            tracing::error!("the figures could not be written");
        }
        text
    }
}

#[cfg(test)]
mod tests;
