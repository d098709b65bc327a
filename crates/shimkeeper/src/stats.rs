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
    /// Of that, file cache that could be given back at once, in bytes.
    pub inactive_file_bytes: Option<u64>,
    /// The most memory that may be used, in bytes; a number larger than any machine's if there is no limit.
    pub memory_limit_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Read from block devices, in bytes.
    pub read_bytes: Option<u64>,
    /// Written to block devices, in bytes.
    pub written_bytes: Option<u64>,
    /// The answer as it came: cgroup metrics of version 1 or 2, or whatever the shim has.
    pub raw: Any,
}

impl Stats {
    /// From such an answer, which a daemon's `Tasks.Metrics` passes on as well.
    pub fn decode(raw: Any) -> Self {
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
        let transferred = |op: &str| {
            let entries = &metrics.blkio.as_ref()?.io_service_bytes_recursive;
            Some(
                entries
                    .iter()
                    .filter(|entry| entry.op.eq_ignore_ascii_case(op))
                    .map(|entry| entry.value)
                    .sum(),
            )
        };
        Self {
            cpu_time: cpu.map(|usage| Duration::from_nanos(usage.total)),
            memory_bytes: memory.map(|entry| entry.usage),
            inactive_file_bytes: metrics.memory.as_ref().map(|memory| memory.total_inactive_file),
            memory_limit_bytes: memory.map(|entry| entry.limit),
            pids: metrics.pids.as_ref().map(|pids| pids.current),
            read_bytes: transferred("read"),
            written_bytes: transferred("write"),
            raw,
        }
    }

    fn from_v2(metrics: &v2::Metrics, raw: Any) -> Self {
        let io = metrics.io.as_ref();
        Self {
            cpu_time: metrics.cpu.as_ref().map(|cpu| Duration::from_micros(cpu.usage_usec)),
            memory_bytes: metrics.memory.as_ref().map(|memory| memory.usage),
            inactive_file_bytes: metrics.memory.as_ref().map(|memory| memory.inactive_file),
            memory_limit_bytes: metrics.memory.as_ref().map(|memory| memory.usage_limit),
            pids: metrics.pids.as_ref().map(|pids| pids.current),
            read_bytes: io.map(|io| io.usage.iter().map(|device| device.rbytes).sum()),
            written_bytes: io.map(|io| io.usage.iter().map(|device| device.wbytes).sum()),
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
            blkio: Some(v1::BlkIoStat {
                io_service_bytes_recursive: [("Read", 4), ("Write", 5), ("Read", 3), ("Total", 12)]
                    .map(|(op, value)| v1::BlkIoEntry {
                        op: op.to_owned(),
                        value,
                        ..v1::BlkIoEntry::default()
                    })
                    .to_vec(),
                ..v1::BlkIoStat::default()
            }),
            ..v1::Metrics::default()
        };
        let two = v2::Metrics {
            cpu: Some(v2::CpuStat { usage_usec: 5_000, ..v2::CpuStat::default() }),
            pids: Some(v2::PidsStat { current: 3, ..v2::PidsStat::default() }),
            io: Some(v2::IoStat {
                usage: [(4, 5), (3, 0)]
                    .map(|(rbytes, wbytes)| v2::IoEntry { rbytes, wbytes, ..v2::IoEntry::default() })
                    .to_vec(),
                ..v2::IoStat::default()
            }),
            ..v2::Metrics::default()
        };
        for stats in [Stats::decode(raw(&one)), Stats::decode(raw(&two))] {
            assert_eq!((stats.cpu_time, stats.pids), (Some(Duration::from_millis(5)), Some(3)));
            assert_eq!((stats.read_bytes, stats.written_bytes), (Some(7), Some(5)));
        }
    }

    #[test]
    fn foreign_figures_are_kept_as_they_came() {
        let foreign = Any::new("example.vm.Stats", "xyz");
        assert_eq!(Stats::decode(foreign.clone()), Stats { raw: foreign, ..Stats::default() });
    }
}
