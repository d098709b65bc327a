// SPDX-License-Identifier: Apache-2.0
//! What a container uses.

use std::time::Duration;

use shimkeeper_core::Any;
use shimkeeper_proto::io::containerd::cgroups::{v1, v2};

/// A shim's answer to the question for what its container uses.
///
/// The figures everybody asks for are there as numbers, whichever cgroup version they come from; the answer itself is
/// kept as it came, for everything else in it.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// CPU time used since the start.
    pub cpu_time: Option<Duration>,
    /// Memory in use, in bytes.
    pub memory_bytes: Option<u64>,
    /// The most memory that may be used, in bytes.
    pub memory_limit_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// The answer as it came: cgroup metrics of version 1 or 2, or whatever the shim has.
    pub raw: Any,
}

impl Stats {
    pub(crate) fn new(raw: Any) -> Self {
        let wire = shimkeeper_proto::google::protobuf::Any {
            type_url: raw.type_url.clone(),
            value: raw.value.clone(),
        };
        if let Some(Ok(metrics)) = shimkeeper_proto::unpack::<v1::Metrics>(&wire) {
            return Self::from_v1(&metrics, raw);
        }
        if let Some(Ok(metrics)) = shimkeeper_proto::unpack::<v2::Metrics>(&wire) {
            return Self::from_v2(&metrics, raw);
        }
        Self { raw, ..Self::default() }
    }

    fn from_v1(metrics: &v1::Metrics, raw: Any) -> Self {
        let cpu = metrics.cpu.as_ref().and_then(|cpu| cpu.usage.as_ref());
        let memory = metrics.memory.as_ref().and_then(|memory| memory.usage.as_ref());
        Self {
            cpu_time: cpu.map(|usage| Duration::from_nanos(usage.total)),
            memory_bytes: memory.map(|entry| entry.usage),
            memory_limit_bytes: memory.map(|entry| entry.limit),
            pids: metrics.pids.as_ref().map(|pids| pids.current),
            raw,
        }
    }

    fn from_v2(metrics: &v2::Metrics, raw: Any) -> Self {
        Self {
            cpu_time: metrics.cpu.as_ref().map(|cpu| Duration::from_micros(cpu.usage_usec)),
            memory_bytes: metrics.memory.as_ref().map(|memory| memory.usage),
            memory_limit_bytes: metrics.memory.as_ref().map(|memory| memory.usage_limit),
            pids: metrics.pids.as_ref().map(|pids| pids.current),
            raw,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw<M: prost::Message + prost::Name>(message: &M) -> Any {
        let packed = shimkeeper_proto::pack(message);
        Any::new(packed.type_url, packed.value)
    }

    #[test]
    fn both_cgroup_versions_give_the_same_figures() {
        let one = v1::Metrics {
            cpu: Some(v1::CpuStat {
                usage: Some(v1::CpuUsage { total: 5_000_000, ..v1::CpuUsage::default() }),
                ..v1::CpuStat::default()
            }),
            pids: Some(v1::PidsStat { current: 3, ..v1::PidsStat::default() }),
            ..v1::Metrics::default()
        };
        let two = v2::Metrics {
            cpu: Some(v2::CpuStat { usage_usec: 5_000, ..v2::CpuStat::default() }),
            pids: Some(v2::PidsStat { current: 3, ..v2::PidsStat::default() }),
            ..v2::Metrics::default()
        };
        for stats in [Stats::new(raw(&one)), Stats::new(raw(&two))] {
            assert_eq!((stats.cpu_time, stats.pids), (Some(Duration::from_millis(5)), Some(3)));
        }
    }

    #[test]
    fn foreign_figures_are_kept_as_they_came() {
        let foreign = Any::new("example.vm.Stats", "xyz");
        assert_eq!(Stats::new(foreign.clone()), Stats { raw: foreign, ..Stats::default() });
    }
}
