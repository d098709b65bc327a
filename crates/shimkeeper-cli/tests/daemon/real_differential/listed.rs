// SPDX-License-Identifier: Apache-2.0
//! The table of differences in `docs/compatibility.md`, and what was found, one against the other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::transcript::{EVENTS, Transcript};

/// The line above the table.
const HEADING: &str = "## What a client sees that is different, call by call";
/// How the reason of a difference begins that does not occur every time.
const SOMETIMES: &str = "sometimes: ";

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    theirs: String,
    ours: String,
    why: String,
}

/// Fails unless the differences are those of the table.
pub(super) fn compare(theirs: &Transcript, ours: &Transcript) {
    let listed = listed();
    let mut found = found(theirs, ours);
    let mut wrong = Vec::new();
    for (call, row) in &listed {
        match found.remove(call) {
            Some((theirs, ours)) if (&theirs, &ours) == (&row.theirs, &row.ours) => {}
            Some((theirs, ours)) => {
                wrong.push(format!("is another:  | {call} | `{theirs}` | `{ours}` | {} |", row.why));
            }
            None if row.why.starts_with(SOMETIMES) => {}
            None => wrong.push(format!("does not occur:  {call}")),
        }
    }
    wrong.extend(
        found
            .iter()
            .map(|(call, (theirs, ours))| format!("is not listed:  | {call} | `{theirs}` | `{ours}` |  |")),
    );
    assert!(wrong.is_empty(), "the table of differences is not what was found:\n{}", wrong.join("\n"));
    assert!(theirs.answers().count() > 150, "hardly anything was played");
}

/// What is different: the call, and what each said, without what both begin and end with.
fn found(theirs: &Transcript, ours: &Transcript) -> BTreeMap<String, (String, String)> {
    let mine: BTreeMap<&str, &str> = ours.answers().collect();
    let other: BTreeMap<&str, &str> = theirs.answers().collect();
    let calls: BTreeSet<&str> = mine.keys().chain(other.keys()).copied().collect();
    let differs = |call: &str| {
        let (theirs, ours) = (other.get(call).copied(), mine.get(call).copied());
        // containerd loses events at the end of a task; what is not told cannot be compared, nor its place.
        if theirs.is_none() && call.starts_with(EVENTS) {
            return None;
        }
        let told_by_both = |topics: &str| {
            let mut topics: Vec<_> = topics.split(' ').collect();
            let has = |of: Option<&str>, topic: &str| of.is_some_and(|of| of.contains(topic));
            topics.retain(|topic| !topic.starts_with("/tasks/") || has(theirs, topic) && has(ours, topic));
            topics.join(" ")
        };
        let (theirs, ours) = (theirs.unwrap_or_default(), ours.unwrap_or_default());
        let (theirs, ours) = (told_by_both(theirs), told_by_both(ours));
        (theirs != ours).then(|| (call.to_owned(), apart(&theirs, &ours)))
    };
    calls.into_iter().filter_map(differs).collect()
}

/// What is left of two texts without the words that both begin with, and both end with; the first word stays.
fn apart(one: &str, other: &str) -> (String, String) {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let (mut one, mut other) = (words(one), words(other));
    let same = one.iter().zip(&other).take_while(|(a, b)| a == b).count();
    if same > 3 {
        for words in [&mut one, &mut other] {
            words.splice(1..same, ["…".to_owned()]);
        }
    }
    let mut cut = 0;
    while one.len() > 3 && other.len() > 3 && one.last() == other.last() {
        one.pop();
        other.pop();
        cut += 1;
    }
    if cut > 0 {
        one.push("…".into());
        other.push("…".into());
    }
    // In a cell of a table.
    let text = |words: Vec<String>| {
        words.join(" ").replace('|', "¦").replace('`', "'").replace('\n', " ").trim().to_owned()
    };
    (text(one), text(other))
}

/// The table as it stands.
fn listed() -> BTreeMap<String, Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/compatibility.md");
    let document = std::fs::read_to_string(path).unwrap();
    let (_, section) = document.split_once(HEADING).expect("the table has its heading");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| call "));
    let mut listed = BTreeMap::new();
    for line in rows {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [call, theirs, ours, why] = cells.try_into().unwrap_or_else(|_| panic!("four cells: {line}"));
        let plain = |cell: &str| cell.trim_matches('`').to_owned();
        assert!(!why.is_empty(), "{call} has no reason");
        let row = Row { theirs: plain(theirs), ours: plain(ours), why: why.to_owned() };
        assert!(listed.insert(call.to_owned(), row).is_none(), "{call} is listed twice");
    }
    listed
}
