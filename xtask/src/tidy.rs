// SPDX-License-Identifier: Apache-2.0
//! `tidy`: the rules of this repository that no compiler knows, each a small pure function over what it judges.
//!
//! ```text
//! edges      who may depend on whom            header   licence line, `//!`
//! documents  ADR index, ARCHITECTURE, CHANGELOG  text     size, white space, markers, places
//! proofs     the tests that docs/faults.md names
//! ```

mod documents;
mod edges;
mod header;
mod proofs;
mod source;
mod text;

use std::fmt;

use anyhow::{Result, bail};

use crate::workspace::Workspace;
use source::{SourceFile, Tree};

/// One thing that is not as agreed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    path: String,
    /// 0 where the whole file is meant.
    line: usize,
    what: String,
}

impl Finding {
    fn of_file(path: &str, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line: 0, what: what.into() }
    }

    fn at(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(formatter, "{}: {}", self.path, self.what),
            line => write!(formatter, "{}:{line}: {}", self.path, self.what),
        }
    }
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Each of these fails the build.
    pub(crate) failures: Vec<Finding>,
    /// Worth a second look.
    pub(crate) remarks: Vec<Finding>,
    files: usize,
}

/// A rule about one file.
type FileRule = fn(&SourceFile) -> Vec<Finding>;

const FILE_RULES: [FileRule; 6] =
    [header::licence, header::module_docs, text::too_long, text::white_space, text::markers, text::places];

/// Looks at everything.
pub(crate) fn check(workspace: &Workspace) -> Result<Report> {
    let tree = Tree::read(&workspace.root)?;
    let names: Vec<&str> = workspace.packages.iter().map(|package| package.name.as_str()).collect();
    let mut report = Report { files: tree.files.len(), ..Report::default() };
    for file in &tree.files {
        report.failures.extend(FILE_RULES.iter().flat_map(|rule| rule(file)));
        report.remarks.extend(text::long(file));
    }
    report.failures.extend(edges::check(&workspace.packages));
    report.failures.extend(documents::adr_index(&tree));
    report.failures.extend(documents::architecture(&tree, &names));
    report.failures.extend(documents::changelog(&tree));
    report.failures.extend(proofs::check(&tree));
    Ok(report)
}

/// Prints what was found; an error when something must be mended.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let report = check(workspace)?;
    for remark in &report.remarks {
        println!("tidy: look twice at {remark}");
    }
    for failure in &report.failures {
        println!("tidy: {failure}");
    }
    match report.failures.len() {
        0 => println!("tidy: {} files are as agreed", report.files),
        count => bail!("{count} thing(s) to tidy up"),
    }
    Ok(())
}
