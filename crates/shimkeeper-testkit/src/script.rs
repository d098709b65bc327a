// SPDX-License-Identifier: Apache-2.0
//! What a fake shim is told to do: plain data, written in Rust by tests and as JSON across a process boundary.
//!
//! The default script is an honest shim. Everything else is a deviation: steps of the `start` action, rules for
//! single RPCs, runs of the `delete` action, the order of events, noise on the log.

mod act;
mod blob;
mod load;
mod method;
mod start;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use act::{Act, DeleteAct, Emission, Events, LogText, Rule, When};
pub use blob::Blob;
pub use load::{ANNOTATION, BUNDLE_FILE, SCRIPT_ENV, SOCKET_DIR_ENV, ScriptError};
pub use method::Method;
pub use start::{Answer, Dialect, Format, StartStep};

/// Everything one fake shim does differently from an honest one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// What the `start` action does, in order. Ends with exit status 0 unless a step says otherwise.
    pub start: Vec<StartStep>,
    /// Which form of standard input the `start` action accepts.
    pub stdin: Dialect,
    /// Which version of the task service the server knows, whatever its answer claims; both follow the answer if
    /// this is absent.
    pub serves: Option<u32>,
    /// How it serves the sandbox service.
    pub sandbox: SandboxService,
    /// What happens to a connection as soon as it is accepted, instead of serving it: one of the acts that happen on
    /// the wire. Others are ignored, and `Close` closes this connection only.
    pub on_accept: Option<Act>,
    /// Deviations of single RPCs, tried in order.
    pub rules: Vec<Rule>,
    /// What the `delete` action does at its first, second, … run in one bundle; the last entry repeats.
    pub delete: Vec<DeleteAct>,
    /// Which events reach the manager, and in which order.
    pub events: Events,
    /// What the server writes to the bundle's log FIFO, once, when it starts.
    pub log: Vec<LogText>,
    /// The file to which every call is appended as it comes, for [`Received::read_all`](crate::Received::read_all).
    pub calls: Option<PathBuf>,
    /// Where sockets are made. Absent: what the manager says, else [`SOCKET_DIR_ENV`], else the bundle.
    pub socket_dir: Option<PathBuf>,
    /// After how many milliseconds every process of the fake ends by itself, so that a broken test leaves nothing.
    pub lifetime_ms: u64,
}

/// How a fake shim serves the sandbox service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SandboxService {
    /// It has sandboxes, as shims of virtual machines have.
    #[default]
    Honest,
    /// It takes every call and has none: Wait answers at once, Status says nothing. So does runc's shim of containerd
    /// 1.7.
    Hollow,
    /// Not at all.
    Absent,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            start: vec![StartStep::Serve, StartStep::Answer(Answer::default())],
            stdin: Dialect::Either,
            serves: None,
            sandbox: SandboxService::Honest,
            on_accept: None,
            rules: Vec::new(),
            delete: vec![DeleteAct::Ok],
            events: Events::Normal,
            log: Vec::new(),
            calls: None,
            socket_dir: None,
            lifetime_ms: 120_000,
        }
    }
}

impl Script {
    /// An honest shim.
    pub fn new() -> Self {
        Self::default()
    }

    /// Does `act` at every call of `method`.
    pub fn on(self, method: Method, when: When, act: Act) -> Self {
        self.rule(Rule { method, when, nth: None, act })
    }

    /// Does `act` at the `nth` call (from 1) of `method` only.
    pub fn on_nth(self, method: Method, nth: u32, when: When, act: Act) -> Self {
        self.rule(Rule { method, when, nth: Some(nth), act })
    }

    /// Adds a rule.
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// Replaces the steps of the `start` action.
    pub fn start(mut self, steps: impl IntoIterator<Item = StartStep>) -> Self {
        self.start = steps.into_iter().collect();
        self
    }

    /// Serves, and answers `start` in this way.
    pub fn answer(self, answer: Answer) -> Self {
        self.start([StartStep::Serve, StartStep::Answer(answer)])
    }

    /// Sets the form of standard input the `start` action accepts.
    pub fn stdin(mut self, dialect: Dialect) -> Self {
        self.stdin = dialect;
        self
    }

    /// Serves this version of the task service, whatever the answer of `start` claims.
    pub fn serves(mut self, version: u32) -> Self {
        self.serves = Some(version);
        self
    }

    /// Sets how it serves the sandbox service.
    pub fn sandbox(mut self, service: SandboxService) -> Self {
        self.sandbox = service;
        self
    }

    /// Does `act` to every connection as soon as it is accepted.
    pub fn on_accept(mut self, act: Act) -> Self {
        self.on_accept = Some(act);
        self
    }

    /// Replaces what the runs of the `delete` action do.
    pub fn delete(mut self, runs: impl IntoIterator<Item = DeleteAct>) -> Self {
        self.delete = runs.into_iter().collect();
        self
    }

    /// Sets which events reach the manager.
    pub fn events(mut self, events: Events) -> Self {
        self.events = events;
        self
    }

    /// Adds text for the log FIFO.
    pub fn log(mut self, text: LogText) -> Self {
        self.log.push(text);
        self
    }

    /// Notes every call down in this file.
    pub fn calls(mut self, file: impl Into<PathBuf>) -> Self {
        self.calls = Some(file.into());
        self
    }

    /// Makes sockets in this directory.
    pub fn socket_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.socket_dir = Some(dir.into());
        self
    }

    /// Ends every process of the fake after this time at the latest.
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime_ms = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX);
        self
    }

    /// The acts due at the `nth` call (from 1) of `method`.
    pub(crate) fn due(&self, method: Method, when: When, nth: u32) -> impl Iterator<Item = &Act> {
        self.rules.iter().filter(move |rule| rule.is_due(method, when, nth)).map(|rule| &rule.act)
    }

    /// The answer `start` gives, as far as the server has to live up to it.
    pub(crate) fn promised(&self) -> Answer {
        let mut answers = self.start.iter().filter_map(|step| match step {
            StartStep::Answer(answer) => Some(answer.clone()),
            _ => None,
        });
        answers.next_back().unwrap_or_default()
    }

    /// The version of the task service the server knows.
    pub(crate) fn served_version(&self) -> u32 {
        self.serves.unwrap_or_else(|| self.promised().version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_survives_its_json_form() {
        let script = Script::new()
            .start([
                StartStep::Stderr("warning".into()),
                StartStep::Serve,
                StartStep::Print(Blob::from(&b"\xff\0x"[..])),
                StartStep::Exit(1),
            ])
            .on(Method::CloseIo, When::After, Act::err(5, "gone"))
            .on_nth(Method::Create, 2, When::Before, Act::Delay(5))
            .delete([DeleteAct::Hang, DeleteAct::Ok])
            .events(Events::Reorder)
            .log(LogText::new("\u{1b}[31mred\n", 3))
            .serves(2);
        let read: Script = script.to_json().parse().unwrap();
        assert_eq!(read, script);
    }

    #[test]
    fn a_script_file_names_only_what_deviates() {
        let script: Script = r#"{
            "start": ["serve", {"answer": {"format": "legacy", "version": 2}}],
            "rules": [{"method": "Kill", "act": "hang"},
                      {"method": "CloseIO", "when": "after", "nth": 1, "act": {"err": {"code": 9, "text": "no"}}}]
        }"#
        .parse()
        .unwrap();
        assert_eq!(script.promised().format, Format::Legacy);
        assert_eq!(script.served_version(), 2);
        assert_eq!(script.due(Method::Kill, When::Before, 7).collect::<Vec<_>>(), [&Act::Hang]);
        assert_eq!(script.due(Method::CloseIo, When::After, 2).count(), 0);
        assert_eq!(script.due(Method::CloseIo, When::After, 1).count(), 1);
    }

    #[test]
    fn a_misspelt_verb_is_an_error_and_not_an_honest_shim() {
        assert!(r#"{"delete": ["hagn"]}"#.parse::<Script>().is_err());
        assert!(r#"{"rulez": []}"#.parse::<Script>().is_err());
    }
}
