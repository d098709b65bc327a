// SPDX-License-Identifier: Apache-2.0
//! What a container has used at one moment, and what it used between two.

use std::time::{Duration, SystemTime};

use serde::Serialize;
use shimkeeper::Stats;
use shimkeeper_core::{Any, time};
use shimkeeper_proto::containerd::types::Metric;

use crate::client::print::size;

/// No machine has so much memory: beyond it, there is no limit.
const NO_LIMIT: u64 = 1 << 60;

/// At one moment.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    at: SystemTime,
    stats: Stats,
}

/// Between two moments; what is not known is null.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Used {
    id: String,
    /// Of the interval; 100 is one processor.
    cpu_percent: Option<f64>,
    /// Since the start, in nanoseconds.
    cpu_ns: Option<u64>,
    /// Without file cache that could be given back at once.
    memory_bytes: Option<u64>,
    memory_limit_bytes: Option<u64>,
    pids: Option<u64>,
    read_bytes: Option<u64>,
    written_bytes: Option<u64>,
}

impl Sample {
    pub(super) fn new(metric: Metric) -> Self {
        let at = metric.timestamp.as_ref().and_then(|at| time::from_parts(at.seconds, at.nanos));
        let raw = metric.data.map(|data| Any::new(data.type_url, data.value)).unwrap_or_default();
        Self { at: at.unwrap_or_else(SystemTime::now), stats: Stats::decode(raw) }
    }
}

impl Used {
    pub(super) fn new(id: &str, before: Option<&Sample>, now: Option<&Sample>) -> Self {
        let id = id.to_owned();
        let Some(now) = now else { return Self { id, ..Self::default() } };
        let stats = &now.stats;
        let inactive = stats.inactive_file_bytes.unwrap_or(0);
        Self {
            id,
            cpu_percent: before.and_then(|before| share(before, now)),
            cpu_ns: stats.cpu_time.and_then(|time| u64::try_from(time.as_nanos()).ok()),
            memory_bytes: stats.memory_bytes.map(|bytes| bytes.saturating_sub(inactive)),
            memory_limit_bytes: stats.memory_limit_bytes.filter(|limit| (1..NO_LIMIT).contains(limit)),
            pids: stats.pids,
            read_bytes: stats.read_bytes,
            written_bytes: stats.written_bytes,
        }
    }

    /// Its line: id, processor time, memory, its limit, processes, read, written.
    pub(super) fn row(&self) -> [String; 7] {
        let text = |figure: Option<String>| figure.unwrap_or_else(|| "-".to_owned());
        [
            self.id.clone(),
            text(self.cpu_percent.map(|share| format!("{share:.1}%"))),
            text(self.memory_bytes.map(size)),
            text(self.memory_limit_bytes.map(size)),
            text(self.pids.map(|pids| pids.to_string())),
            text(self.read_bytes.map(size)),
            text(self.written_bytes.map(size)),
        ]
    }
}

/// Of one processor, in per cent to one digit; `None` if no time has passed, or it is another life of the container.
fn share(before: &Sample, now: &Sample) -> Option<f64> {
    let used = now.stats.cpu_time?.checked_sub(before.stats.cpu_time?)?;
    let passed = now.at.duration_since(before.at).ok().filter(|passed| *passed > Duration::ZERO)?;
    Some((used.as_secs_f64() / passed.as_secs_f64() * 1000.0).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use shimkeeper_proto::google::protobuf::Timestamp;
    use shimkeeper_proto::io::containerd::cgroups::v2;
    use shimkeeper_proto::pack;

    use super::*;

    fn sample(seconds: i64, usage_usec: u64, usage_limit: u64) -> Sample {
        let memory =
            v2::MemoryStat { usage: 5 << 20, inactive_file: 1 << 20, usage_limit, ..Default::default() };
        let cpu = v2::CpuStat { usage_usec, ..Default::default() };
        let metrics = v2::Metrics { cpu: Some(cpu), memory: Some(memory), ..Default::default() };
        let timestamp = Some(Timestamp { seconds, nanos: 0 });
        Sample::new(Metric { timestamp, id: "web".to_owned(), data: Some(pack(&metrics)) })
    }

    #[test]
    fn what_is_used_is_used_in_between() {
        let (before, now) = (sample(10, 1_000_000, u64::MAX), sample(12, 4_000_000, 64 << 20));
        let used = Used::new("web", Some(&before), Some(&now));
        assert_eq!((used.cpu_percent, used.cpu_ns), (Some(150.0), Some(4_000_000_000)));
        assert_eq!((used.memory_bytes, used.memory_limit_bytes), (Some(4 << 20), Some(64 << 20)));
        assert_eq!(used.row(), ["web", "150.0%", "4.0 MiB", "64.0 MiB", "-", "-", "-"].map(str::to_owned));
        let first = Used::new("web", None, Some(&before));
        assert_eq!((first.cpu_percent, first.memory_limit_bytes), (None, None));
        assert_eq!(Used::new("web", Some(&now), Some(&before)).cpu_percent, None, "another life of the id");
        assert_eq!(Used::new("web", Some(&now), None).row()[1..], [const { "-" }; 6].map(str::to_owned));
    }
}
