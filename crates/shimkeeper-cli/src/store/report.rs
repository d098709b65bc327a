// SPDX-License-Identifier: Apache-2.0
//! What the commands on a store tell when they are done.
//!
//! Fields are only ever added to; `schema` changes when one is changed or taken away.
//!
//! ```json
//! {"schema":"shimkeeper.store/1","action":"import","store":"/var/lib/shimkeeper/io.shimkeeper.store",
//!  "added":3,"replaced":0,"unchanged":1,"left_out":[{"what":"lease \"x\" in namespace \"default\"","why":"…"}]}
//! ```

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;
use shimkeeper_store::{Counts, Imported, LeftOut};

use crate::failure::Failure;
use crate::output::Output;
use crate::stdout;

#[derive(Debug, Serialize)]
pub(super) struct Report<'a> {
    schema: &'static str,
    action: &'static str,
    store: &'a Path,
    #[serde(flatten)]
    pub(super) done: Done<'a>,
    left_out: Vec<Left<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Done<'a> {
    Whole { records: Kinds },
    Imported { added: usize, replaced: usize, unchanged: usize },
    Recovered { salvaged: Kinds, from_bundles: Kinds, set_aside: Option<&'a Path> },
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Kinds {
    namespaces: usize,
    containers: usize,
    leases: usize,
    sandboxes: usize,
    #[serde(skip)]
    counts: Counts,
}

#[derive(Debug, Serialize)]
struct Left<'a> {
    what: &'a str,
    why: &'a str,
}

impl From<Counts> for Kinds {
    fn from(counts: Counts) -> Self {
        let Counts { namespaces, containers, leases, sandboxes } = counts;
        Self { namespaces, containers, leases, sandboxes, counts }
    }
}

impl From<Imported> for Done<'_> {
    fn from(imported: Imported) -> Self {
        let Imported { added, replaced, unchanged } = imported;
        Self::Imported { added, replaced, unchanged }
    }
}

impl<'a> Report<'a> {
    pub(super) fn new(
        action: &'static str,
        store: &'a Path,
        done: Done<'a>,
        left_out: &'a [LeftOut],
    ) -> Self {
        let left_out = left_out.iter().map(|one| Left { what: &one.what, why: &one.why }).collect();
        Self { schema: "shimkeeper.store/1", action, store, done, left_out }
    }

    pub(super) fn print(&self, output: Output) -> Result<(), Failure> {
        let text = match output {
            Output::Json => serde_json::to_string(self).expect("a report has only plain fields") + "\n",
            Output::Text => self.text(),
        };
        stdout::write(text.as_bytes()).map(drop)
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let store = self.store.display();
        // Writing to a string does not fail.
        let _ = match &self.done {
            Done::Whole { records } => writeln!(text, "{store} is whole: {}", records.counts),
            Done::Imported { added, replaced, unchanged } => {
                writeln!(
                    text,
                    "{store}: {added} records added, {replaced} replaced, {unchanged} were there already"
                )
            }
            Done::Recovered { salvaged, from_bundles, set_aside } => {
                let kept =
                    set_aside.map(|path| format!("; the old one is {}", path.display())).unwrap_or_default();
                writeln!(text, "{store} is made anew{kept}")
                    .and_then(|()| writeln!(text, "  read from the old one: {}", salvaged.counts))
                    .and_then(|()| writeln!(text, "  made from bundles:     {}", from_bundles.counts))
            }
        };
        for Left { what, why } in &self.left_out {
            let _ = writeln!(text, "  left out: {what}: {why}");
        }
        text
    }
}
