// SPDX-License-Identifier: Apache-2.0
//! What a run tells about itself: the JSON object of `-o json`, and the table of `--trace-phases`.
//!
//! The object is one line. Its fields are only ever added to; `schema` changes when one is changed or taken away.
//!
//! ```json
//! {"schema":"shimkeeper.run/1","id":"web","namespace":"default","pid":4711,
//!  "exit":{"status":143,"signal":15,"at":"2026-01-31T12:00:00.123456789Z","provenance":"observed"},
//!  "exit_code":143,"timed_out":false,
//!  "phases_ms":{"bundle":0.4,"turn":0.0,"launch":21.3,"dial":0.2,"create":38.0,"start":9.1,"run":1500.2,"delete":30.5},
//!  "runtime":{"name":"io.containerd.runc.v2","binary":"crun"},
//!  "shim":{"path":"/usr/bin/containerd-shim-runc-v2","pid":4700},
//!  "error":null}
//! ```

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use shimkeeper_core::Exit;
use shimkeeper_core::time::to_rfc3339;

use crate::args::ReportArgs;
use crate::failure::{Failure, say};
use crate::foreground::exit_code;
use crate::output::Output;

/// The result of a run, filled in as it goes.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    schema: &'static str,
    id: String,
    namespace: String,
    pub(crate) pid: Option<u32>,
    exit: Option<ExitReport>,
    exit_code: u8,
    pub(crate) timed_out: bool,
    phases_ms: Phases,
    runtime: RuntimeReport,
    shim: Option<ShimReport>,
    error: Option<ErrorReport>,
}

/// How a process ended.
#[derive(Debug, Serialize)]
pub(crate) struct ExitReport {
    pub(crate) status: u32,
    signal: Option<u32>,
    at: String,
    provenance: &'static str,
}

#[derive(Debug, Serialize)]
struct RuntimeReport {
    name: String,
    binary: Option<String>,
}

#[derive(Debug, Serialize)]
struct ShimReport {
    path: String,
    pid: Option<u32>,
}

#[derive(Debug, Serialize)]
struct ErrorReport {
    kind: &'static str,
    message: String,
    hint: Option<String>,
}

/// Names and milliseconds, in the order in which they came; an object in JSON.
#[derive(Debug, Default)]
struct Phases(Vec<(&'static str, Duration)>);

impl Serialize for Phases {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, took)| (name, milliseconds(*took))))
    }
}

impl ExitReport {
    pub(crate) fn new(exit: &Exit) -> Self {
        Self {
            status: exit.status,
            signal: exit_code::signal_of(exit.status),
            at: to_rfc3339(exit.at),
            provenance: exit.provenance.as_str(),
        }
    }
}

impl Report {
    pub(crate) fn new(namespace: &str, id: &str, runtime: &str, binary: Option<&str>) -> Self {
        Self {
            schema: "shimkeeper.run/1",
            id: id.to_owned(),
            namespace: namespace.to_owned(),
            pid: None,
            exit: None,
            exit_code: 0,
            timed_out: false,
            phases_ms: Phases::default(),
            runtime: RuntimeReport { name: runtime.to_owned(), binary: binary.map(str::to_owned) },
            shim: None,
            error: None,
        }
    }

    pub(crate) fn phase(&mut self, name: &'static str, took: Duration) {
        self.phases_ms.0.push((name, took));
    }

    pub(crate) fn shim(&mut self, path: &Path, pid: Option<u32>) {
        self.shim = Some(ShimReport { path: path.to_string_lossy().into_owned(), pid });
    }

    pub(crate) fn exit(&mut self, exit: &Exit) {
        self.exit_code = exit_code::of_status(exit.status);
        self.exit = Some(ExitReport::new(exit));
    }

    /// A failure after the process's end does not change how it ended.
    pub(crate) fn failure(&mut self, failure: &Failure) {
        if self.exit.is_none() {
            self.exit_code = failure.exit_code;
        }
        self.error = Some(ErrorReport {
            kind: failure.kind.as_str(),
            message: failure.what.clone(),
            hint: failure.hint.clone(),
        });
    }

    /// What is not written is our failure, however the process ended.
    pub(crate) fn written(&mut self, written: &Result<(), Failure>) {
        if let Err(failure) = written {
            self.exit_code = failure.exit_code;
        }
    }

    pub(crate) fn exit_code(&self) -> u8 {
        self.exit_code
    }

    fn table(&self) -> String {
        let mut table = String::new();
        let rows = self.phases_ms.0.iter().map(|(name, took)| (*name, *took));
        let total = ("total", self.phases_ms.0.iter().map(|(_, took)| *took).sum());
        for (name, took) in rows.chain([total]) {
            writeln!(table, "  {name:<8}{:>12.1} ms", milliseconds(took)).expect("a string takes everything");
        }
        table
    }

    fn line(&self) -> String {
        let mut line = serde_json::to_string(self).expect("a report has only plain fields");
        line.push('\n');
        line
    }
}

/// Where the report goes.
#[derive(Debug)]
pub(crate) struct Reporter {
    file: Option<File>,
    json_on_stderr: bool,
    trace_phases: bool,
}

impl Reporter {
    /// Opens what has to be opened, before anything is started whose result could not be told.
    pub(crate) fn open(args: &ReportArgs) -> Result<Self, Failure> {
        let file = args.output_file.as_deref().map(|path| {
            let what = format!("write the result to {}", path.display());
            let hint = "choose another file with --output-file";
            File::create(path).map_err(|error| Failure::io(what, &error, hint))
        });
        let file = file.transpose()?;
        let json_on_stderr = args.output == Output::Json && file.is_none();
        Ok(Self { file, json_on_stderr, trace_phases: args.trace_phases })
    }

    /// Tells everything. In words a failure is told unless it is told as JSON in the same place.
    pub(crate) fn finish(self, report: &Report, failures: &[Failure]) {
        if !self.json_on_stderr {
            failures.iter().for_each(Failure::print);
        }
        if self.trace_phases {
            write_stderr(&report.table());
        }
        if self.json_on_stderr {
            write_stderr(&report.line());
        }
        if let Some(mut file) = self.file
            && let Err(error) = file.write_all(report.line().as_bytes())
        {
            say(&format!("write the result: {error}"), None);
        }
    }
}

fn write_stderr(text: &str) {
    // Nobody is left to be told that standard error is closed.
    let _ = io::stderr().write_all(text.as_bytes());
}

/// To a tenth of a microsecond: more digits are noise.
fn milliseconds(took: Duration) -> f64 {
    (took.as_secs_f64() * 1e7).round() / 1e4
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use shimkeeper_core::{Kind, Provenance};

    fn report() -> Report {
        Report::new("default", "web", "io.containerd.runc.v2", Some("crun"))
    }

    #[test]
    fn the_schema_is_stable() {
        let mut report = report();
        report.pid = Some(4711);
        report.phase("launch", Duration::from_micros(21_345));
        report.phase("bundle", Duration::from_millis(2));
        report.shim(Path::new("/usr/bin/shim"), Some(4700));
        let at = SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 5_000_000);
        report.exit(&Exit { pid: 4711, status: 143, at, provenance: Provenance::Observed });
        let expected = concat!(
            r#"{"schema":"shimkeeper.run/1","id":"web","namespace":"default","pid":4711,"#,
            r#""exit":{"status":143,"signal":15,"at":"2023-11-14T22:13:20.005000000Z","provenance":"observed"},"#,
            r#""exit_code":143,"timed_out":false,"phases_ms":{"launch":21.345,"bundle":2.0},"#,
            r#""runtime":{"name":"io.containerd.runc.v2","binary":"crun"},"#,
            r#""shim":{"path":"/usr/bin/shim","pid":4700},"error":null}"#,
            "\n"
        );
        assert_eq!(report.line(), expected);
    }

    #[test]
    fn a_failure_is_told_and_does_not_hide_an_exit() {
        let failure = Failure::new(Kind::NotFound, "no shim", "install it");
        let mut failed = report();
        failed.failure(&failure);
        assert_eq!(failed.exit_code(), 125);
        let error = r#""error":{"kind":"not found","message":"no shim","hint":"install it"}"#;
        assert!(failed.line().contains(error), "{}", failed.line());

        let mut ended = report();
        let at = SystemTime::UNIX_EPOCH;
        ended.exit(&Exit { pid: 1, status: 7, at, provenance: Provenance::Observed });
        ended.failure(&failure);
        assert_eq!(ended.exit_code(), 7);
    }

    #[test]
    fn the_table_adds_up() {
        let mut report = report();
        report.phase("create", Duration::from_millis(40));
        report.phase("run", Duration::from_micros(2500));
        let table = "  create          40.0 ms\n  run              2.5 ms\n  total           42.5 ms\n";
        assert_eq!(report.table(), table);
    }
}
