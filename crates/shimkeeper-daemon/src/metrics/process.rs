// SPDX-License-Identifier: Apache-2.0
//! The daemon's own process, by the names that Prometheus's client libraries have agreed on. What the kernel does not tell is left out.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Unit;

use super::sampled::Sheet;

#[derive(Debug)]
pub(super) struct Process;

/// What `/proc/self/stat` says.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stat {
    cpu_seconds: f64,
    threads: f64,
    /// Seconds from the machine's start to the process's.
    began: f64,
    resident_bytes: f64,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        if let Some(stat) = read("/proc/self/stat").and_then(|text| stat(&text)) {
            let (name, help) = ("process_cpu", "Time on a processor, in the kernel and out of it");
            let counter = ConstCounter::new(stat.cpu_seconds);
            counter.encode(encoder.encode_descriptor(
                name,
                help,
                Some(&Unit::Seconds),
                MetricType::Counter,
            )?)?;
            let mut sheet = Sheet(&mut encoder);
            sheet.with_unit("process_resident_memory", "Memory in use", &Unit::Bytes, stat.resident_bytes)?;
            sheet.gauge("process_threads", "Threads", stat.threads)?;
            if let Some(boot) = read("/proc/stat").and_then(|text| boot_time(&text)) {
                let help = "When the process began, since 1970";
                sheet.with_unit("process_start_time", help, &Unit::Seconds, boot + stat.began)?;
            }
        }
        let mut sheet = Sheet(&mut encoder);
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            // The one that reads them is one of them.
            let open = u32::try_from(open.count().saturating_sub(1)).unwrap_or(u32::MAX);
            sheet.gauge("process_open_fds", "Open file descriptors", open.into())?;
        }
        if let Some(most) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
            let most = u32::try_from(most).unwrap_or(u32::MAX);
            sheet.gauge("process_max_fds", "Open file descriptors there may be", most.into())?;
        }
        Ok(())
    }
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn stat(text: &str) -> Option<Stat> {
    // The name, in parentheses, may hold anything.
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
    // Counted from the state, the third of all.
    let mut number = |skip: usize| fields.nth(skip)?.parse::<f64>().ok();
    let user = number(11)?;
    let system = number(0)?;
    let threads = number(4)?;
    let began = number(1)?;
    let pages = number(1)?;
    let ticks = f64::from(u32::try_from(rustix::param::clock_ticks_per_second()).ok()?);
    let page = f64::from(u32::try_from(rustix::param::page_size()).ok()?);
    Some(Stat {
        cpu_seconds: (user + system) / ticks,
        threads,
        began: began / ticks,
        resident_bytes: pages * page,
    })
}

/// When the machine was started, in seconds since 1970.
fn boot_time(text: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_the_right_ones() {
        let text = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 3 0 1000 9999 25 1 1";
        let stat = stat(text).unwrap();
        let ticks = f64::from(u32::try_from(rustix::param::clock_ticks_per_second()).unwrap());
        let page = f64::from(u32::try_from(rustix::param::page_size()).unwrap());
        let expected = Stat {
            cpu_seconds: 200.0 / ticks,
            threads: 3.0,
            began: 1000.0 / ticks,
            resident_bytes: 25.0 * page,
        };
        assert_eq!(stat, expected);
        assert_eq!(boot_time("cpu 1 2\nbtime 1700000000\n"), Some(1_700_000_000.0));
    }
}
