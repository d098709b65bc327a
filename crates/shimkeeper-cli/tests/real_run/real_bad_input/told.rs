// SPDX-License-Identifier: Apache-2.0
//! What is said of a failure, and what it has to be like.

use serde_json::Value;
use shimkeeper_core::{HasKind, chain};

/// A failure's kind and its two lines.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) kind: String,
    pub(crate) what: String,
    pub(crate) hint: String,
}

impl Told {
    /// As the command's JSON has it; none if nothing failed.
    pub(crate) fn in_report(report: &Value) -> Option<Self> {
        let error = report["error"].as_object()?;
        let text = |field: &str| error[field].as_str().unwrap_or_default().to_owned();
        Some(Self { kind: text("kind"), what: text("message"), hint: text("hint") })
    }

    /// As the library has it, with everything that led to it.
    pub(crate) fn of(error: &(impl std::error::Error + HasKind), hint: Option<&str>) -> Self {
        Self { kind: error.kind().to_string(), what: chain(error), hint: hint.unwrap_or_default().to_owned() }
    }

    /// That each is one line, and says something.
    pub(crate) fn assert_readable(&self, name: &str) {
        for line in [&self.what, &self.hint] {
            assert!(line.len() > 8 && !line.contains(char::is_control), "{name}: {self:?}");
        }
    }
}

/// That standard error has the two lines and no more.
pub(crate) fn assert_two_lines(name: &str, stderr: &str) {
    let lines: Vec<_> = stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{name}: {stderr:?}");
    assert!(lines[0].starts_with("shimkeeper: ") && lines[1].starts_with("  hint: "), "{name}: {stderr:?}");
    assert!(stderr.len() <= 1024, "{name}: {} bytes: {stderr:?}", stderr.len());
    assert!(!stderr.trim_end().replace('\n', "").contains(char::is_control), "{name}: {stderr:?}");
}
