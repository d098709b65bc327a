// SPDX-License-Identifier: Apache-2.0
//! What is looked at when somebody asks: how many there are of what, at that moment. Waits for nobody.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use shimkeeper::{Adoption, Care, HealthState, Verdict};

use crate::controls::Parts;
use crate::identity::{REVISION, VERSION};

const HEALTH: [HealthState; 4] =
    [HealthState::Healthy, HealthState::Slow, HealthState::Stuck, HealthState::Gone];

const VERDICTS: [&str; 5] = ["adopted", "ended_while_away", "leaked", "dead", "unreachable"];

impl Collector for Parts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut sheet = Sheet(&mut encoder);
        sheet.gauges(
            "build_info",
            "What was built from which source; always 1",
            [([("version", VERSION), ("revision", REVISION)], 1.0)],
        )?;
        self.shims(&mut sheet)?;
        self.adoption(&mut sheet)?;
        self.records(&mut sheet)?;
        self.clients(&mut sheet)
    }
}

impl Parts {
    fn shims(&self, sheet: &mut Sheet<'_, '_>) -> fmt::Result {
        let census = self.manager.census();
        let pairs = Care::ALL.iter().flat_map(|care| HEALTH.iter().map(move |health| (*care, *health)));
        let shims = pairs.map(|(care, health)| {
            let count = census.shims.get(&(care, health)).copied().unwrap_or(0);
            ([("state", care.as_str()), ("health", health.as_str())], float(count))
        });
        sheet.gauges("shims", "Shims, by what is done with them and how they are", shims)?;
        let bundles =
            [("creating", census.creating), ("adopting", census.adopting), ("stranded", census.stranded)];
        sheet.gauges(
            "bundles",
            "Bundles without a shim in care: being made, without a verdict yet, or beyond use",
            bundles.map(|(state, count)| ([("state", state)], float(count))),
        )?;
        let events = census.events;
        sheet.counter("events_published", "Events published", events.published)?;
        sheet.counter(
            "events_delivered",
            "Events put into subscribers' queues, once for each",
            events.delivered,
        )?;
        sheet.counter(
            "events_subscribers_ended",
            "Subscribers ended because they did not keep up",
            events.ended_too_slow,
        )?;
        sheet.gauge("events_subscribers", "Subscribers there are", float(events.subscribers))?;
        sheet.gauge("events_queued", "Events that wait in subscribers' queues", float(events.queued))?;
        sheet.counter("events_unkept", "Events the journal could not keep", census.unkept)
    }

    fn adoption(&self, sheet: &mut Sheet<'_, '_>) -> fmt::Result {
        let adoption = self.manager.adoption();
        sheet.gauge("adoption_found", "Bundles found at the start", float(adoption.found))?;
        let verdicts = VERDICTS.map(|word| ([("verdict", word)], float(count(&adoption, word))));
        sheet.gauges("adoption_verdicts", "What became of them", verdicts)?;
        let is_over = f64::from(u8::from(adoption.finished));
        sheet.gauge("adoption_finished", "1 once there is a verdict on every one of them", is_over)?;
        let took = self.adopted.get().copied().unwrap_or_else(|| self.started.elapsed());
        let help = "From the daemon's start to the last first verdict; grows until then";
        sheet.with_unit("adoption", help, &Unit::Seconds, took.as_secs_f64())
    }

    fn records(&self, sheet: &mut Sheet<'_, '_>) -> fmt::Result {
        let counts = self.store.counts();
        let kinds = [
            ("namespace", counts.namespaces),
            ("container", counts.containers),
            ("lease", counts.leases),
            ("sandbox", counts.sandboxes),
        ];
        let kinds = kinds.map(|(kind, count)| ([("kind", kind)], float(count)));
        sheet.gauges("store_records", "Records kept for clients", kinds)?;
        #[expect(clippy::cast_precision_loss, reason = "a figure is as good as a float can tell")]
        let bytes = self.store.bytes() as f64;
        sheet.with_unit("store", "The records' database and its log on disk", &Unit::Bytes, bytes)
    }

    fn clients(&self, sheet: &mut Sheet<'_, '_>) -> fmt::Result {
        let counts = self.gate.counts();
        sheet.gauge("connections", "Connections of clients", float(counts.connected))?;
        sheet.counter(
            "connections_refused",
            "Connections closed because their user had as many as one may have",
            counts.refused,
        )?;
        let help = "Calls of clients under way, without those that wait or subscribe";
        sheet.gauge("calls_in_flight", help, float(self.calls.brief()))
    }
}

/// How many bundles this became of.
fn count(adoption: &Adoption, word: &str) -> usize {
    let tasks = adoption.verdicts.iter().map(|(_, verdict)| verdict);
    let sandboxes = adoption.sandboxes.iter().map(|(_, verdict)| verdict);
    tasks.chain(sandboxes).filter(|verdict| name(verdict) == word).count()
}

fn name(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Adopted => "adopted",
        Verdict::EndedWhileAway => "ended_while_away",
        Verdict::Leaked => "leaked",
        Verdict::Dead => "dead",
        _ => "unreachable",
    }
}

/// Where figures are written.
pub(super) struct Sheet<'a, 'b>(pub(super) &'a mut DescriptorEncoder<'b>);

impl Sheet<'_, '_> {
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        ConstGauge::new(value).encode(self.0.encode_descriptor(name, help, None, MetricType::Gauge)?)
    }

    pub(super) fn with_unit(&mut self, name: &str, help: &str, unit: &Unit, value: f64) -> fmt::Result {
        ConstGauge::new(value).encode(self.0.encode_descriptor(name, help, Some(unit), MetricType::Gauge)?)
    }

    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        ConstCounter::new(value).encode(self.0.encode_descriptor(name, help, None, MetricType::Counter)?)
    }

    fn gauges<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = ([(&'static str, &'static str); N], f64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in values {
            ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// Nothing that is counted here comes near to what a float cannot tell.
#[expect(clippy::cast_precision_loss, reason = "see above")]
fn float(count: usize) -> f64 {
    count as f64
}
