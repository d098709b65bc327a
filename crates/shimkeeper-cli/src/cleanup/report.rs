// SPDX-License-Identifier: Apache-2.0
//! What `cleanup` tells: a line for each container, or with `-o json` one object on standard output.
//!
//! Fields are only ever added to; `schema` changes when one is changed or taken away.
//!
//! ```json
//! {"schema":"shimkeeper.cleanup/1","runs":[
//!   {"directory":"/run/shimkeeper/run-3f9a01c7","outcome":"kept","manager_pid":null,"containers":[
//!     {"id":"run-3f9a01c7","namespace":"default","verdict":"adopted","status":"running","pid":4711,
//!      "exit":null,"removed":false}],"error":null}]}
//! ```

use std::fmt::Write as _;

use serde::Serialize;
use shimkeeper::{Exit, Status, TaskKey, Verdict};

use crate::failure::Failure;
use crate::output::Output;
use crate::private_dirs::PrivateDir;
use crate::run::report::ExitReport;
use crate::stdout;

#[derive(Debug, Serialize)]
pub(super) struct Report {
    schema: &'static str,
    pub(super) runs: Vec<RunReport>,
}

/// One run's directory.
#[derive(Debug, Serialize)]
pub(super) struct RunReport {
    pub(super) directory: String,
    outcome: &'static str,
    manager_pid: Option<u32>,
    containers: Vec<ContainerReport>,
    error: Option<String>,
    #[serde(skip)]
    name: String,
}

/// One container.
#[derive(Debug, Serialize)]
pub(super) struct ContainerReport {
    id: String,
    namespace: String,
    verdict: String,
    status: Option<&'static str>,
    pub(super) pid: Option<u32>,
    exit: Option<ExitReport>,
    pub(super) removed: bool,
}

impl Default for Report {
    fn default() -> Self {
        Self { schema: "shimkeeper.cleanup/1", runs: Vec::new() }
    }
}

impl Report {
    pub(super) fn print(&self, output: Output) -> Result<(), Failure> {
        let text = match output {
            Output::Json => serde_json::to_string(self).expect("a report has only plain fields") + "\n",
            Output::Text => self.runs.iter().map(RunReport::text).collect(),
        };
        stdout::write(text.as_bytes()).map(drop)
    }
}

impl RunReport {
    fn new(dir: &PrivateDir, outcome: &'static str, containers: Vec<ContainerReport>) -> Self {
        let (directory, name) = (dir.path().to_string_lossy().into_owned(), dir.name());
        Self { directory, outcome, manager_pid: None, containers, error: None, name }
    }

    /// A live manager has it.
    pub(super) fn in_use(dir: &PrivateDir, manager_pid: Option<u32>) -> Self {
        Self { manager_pid, ..Self::new(dir, "in use", Vec::new()) }
    }

    /// Something in it is not over.
    pub(super) fn kept(dir: &PrivateDir, containers: Vec<ContainerReport>) -> Self {
        Self::new(dir, "kept", containers)
    }

    pub(super) fn removed(dir: &PrivateDir, containers: Vec<ContainerReport>) -> Self {
        Self::new(dir, "removed", containers)
    }

    pub(super) fn failed(dir: &PrivateDir, containers: Vec<ContainerReport>, failure: &Failure) -> Self {
        Self { error: Some(failure.what.clone()), ..Self::new(dir, "failed", containers) }
    }

    fn text(&self) -> String {
        let name = &self.name;
        let mut text = String::new();
        for container in &self.containers {
            writeln!(text, "{name}: {}", container.text()).expect("a string takes everything");
        }
        let whole = match (self.outcome, self.manager_pid) {
            ("in use", Some(pid)) => format!("in use by process {pid}"),
            (outcome, _) => outcome.to_owned(),
        };
        writeln!(text, "{name}: {whole}").expect("a string takes everything");
        text
    }
}

impl ContainerReport {
    pub(super) fn new(key: &TaskKey, verdict: &Verdict) -> Self {
        Self {
            id: key.id.to_string(),
            namespace: key.namespace.to_string(),
            verdict: verdict.to_string(),
            status: None,
            pid: None,
            exit: None,
            removed: false,
        }
    }

    /// What the shim says of it.
    pub(super) fn status(&mut self, status: Status) {
        self.status = Some(status.as_str());
    }

    pub(super) fn exit(&mut self, exit: &Exit) {
        self.exit = Some(ExitReport::new(exit));
    }

    fn text(&self) -> String {
        let pid = self.pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
        let what = match (&self.exit, self.status) {
            (Some(exit), _) => format!("ended with status {}", exit.status),
            (None, Some(status)) => format!("{status}{pid}"),
            (None, None) => self.verdict.chars().map(|c| if c.is_control() { ' ' } else { c }).collect(),
        };
        let outcome = match (self.removed, self.status) {
            (true, _) => "removed",
            (false, Some("created" | "running" | "paused" | "pausing")) => "kept; --force ends it",
            (false, _) => "kept",
        };
        format!("{}/{}: {what}: {outcome}", self.namespace, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shimkeeper_core::Provenance;
    use std::time::SystemTime;

    fn container(verdict: &Verdict) -> ContainerReport {
        ContainerReport::new(&TaskKey::parse("default", "web").unwrap(), verdict)
    }

    #[test]
    fn each_container_has_its_line() {
        let mut running = container(&Verdict::Adopted);
        running.status(Status::Running);
        running.pid = Some(7);
        assert_eq!(running.text(), "default/web: running, pid 7: kept; --force ends it");
        let mut over = container(&Verdict::EndedWhileAway);
        over.status(Status::Stopped);
        over.exit(&Exit { pid: 7, status: 3, at: SystemTime::UNIX_EPOCH, provenance: Provenance::Recovered });
        over.removed = true;
        assert_eq!(over.text(), "default/web: ended with status 3: removed");
        let lost = container(&Verdict::Unreachable { reason: "no\nanswer".to_owned() });
        assert_eq!(lost.text(), "default/web: unreachable: no answer: kept");
    }

    #[test]
    fn the_schema_is_stable() {
        let json = serde_json::to_value(container(&Verdict::Leaked)).unwrap();
        let expected = serde_json::json!({
            "id": "web", "namespace": "default", "verdict": "leaked", "status": null, "pid": null,
            "exit": null, "removed": false,
        });
        assert_eq!(json, expected);
        let report = serde_json::to_value(Report::default()).unwrap();
        assert_eq!(report, serde_json::json!({"schema": "shimkeeper.cleanup/1", "runs": []}));
    }
}
