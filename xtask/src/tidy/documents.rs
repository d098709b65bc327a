// SPDX-License-Identifier: Apache-2.0
//! Documents that cannot rot: each names what exists, and what exists is named.

use crate::tidy::Finding;
use crate::tidy::source::{Tree, ending};

const ADR_DIRECTORY: &str = "docs/adr/";
const ADR_INDEX: &str = "docs/adr/README.md";
const ARCHITECTURE: &str = "ARCHITECTURE.md";
const ARCHITECTURE_LINES: usize = 200;
const CHANGELOG: &str = "CHANGELOG.md";

/// Every decision record is listed in the index.
pub(crate) fn adr_index(tree: &Tree) -> Vec<Finding> {
    let Some(index) = tree.get(ADR_INDEX) else {
        return vec![Finding::of_file(ADR_INDEX, "there is no index of decision records")];
    };
    let records = tree.files.iter().filter_map(|file| file.path.strip_prefix(ADR_DIRECTORY));
    records
        .filter(|name| {
            *name != "README.md" && ending(name) == "md" && !index.text.contains(&format!("({name})"))
        })
        .map(|name| Finding::of_file(ADR_INDEX, format!("does not list {name}")))
        .collect()
}

/// The map names every crate, names no file that is not there, and stays short enough to be read.
pub(crate) fn architecture(tree: &Tree, crates: &[&str]) -> Vec<Finding> {
    let Some(file) = tree.get(ARCHITECTURE) else {
        return vec![Finding::of_file(ARCHITECTURE, "there is no map of the code")];
    };
    let mut found = Vec::new();
    let lines = file.text.lines().count();
    if lines > ARCHITECTURE_LINES {
        found.push(Finding::of_file(
            ARCHITECTURE,
            format!("{lines} lines; {ARCHITECTURE_LINES} are what people read"),
        ));
    }
    let unnamed = crates.iter().filter(|name| !file.text.contains(&format!("`{name}`")));
    found.extend(
        unnamed.map(|name| Finding::of_file(ARCHITECTURE, format!("does not mention the crate `{name}`"))),
    );
    for (index, line) in file.text.lines().enumerate() {
        let gone = quoted(line).filter(|word| is_path(word) && !tree.has(word));
        found.extend(
            gone.map(|word| Finding::at(ARCHITECTURE, index + 1, format!("`{word}` does not exist"))),
        );
    }
    found
}

/// There is a change log, with a place for what is not released.
pub(crate) fn changelog(tree: &Tree) -> Vec<Finding> {
    match tree.get(CHANGELOG) {
        Some(file) if file.text.contains("## [Unreleased]") => Vec::new(),
        Some(_) => vec![Finding::of_file(CHANGELOG, "has no section `## [Unreleased]`")],
        None => vec![Finding::of_file(CHANGELOG, "there is no change log")],
    }
}

/// What stands between back-ticks.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Whether a quoted word means a file or directory of the repository.
fn is_path(word: &str) -> bool {
    let relative = !word.starts_with(['/', '<', '$', '~']) && !word.contains([' ', '*', '{', '<', ':']);
    let top = ["crates/", "xtask/", "docs/", "proto/", "fuzz/", "tests/", ".ci/", ".config/", ".cargo/"];
    relative
        && (top.iter().any(|directory| word.starts_with(directory)) || ["rs", "md"].contains(&ending(word)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::source::tests::file;

    fn tree(files: &[(&str, &str)]) -> Tree {
        Tree { files: files.iter().map(|(path, text)| file(path, text)).collect() }
    }

    fn said(findings: &[Finding]) -> Vec<&str> {
        findings.iter().map(|finding| finding.what.as_str()).collect()
    }

    #[test]
    fn a_record_that_is_not_listed_is_found() {
        let record = ("docs/adr/0001-x.md", "");
        assert_eq!(adr_index(&tree(&[("docs/adr/README.md", "- [x](0001-x.md)"), record])), []);
        assert_eq!(
            said(&adr_index(&tree(&[("docs/adr/README.md", "0001"), record]))),
            ["does not list 0001-x.md"]
        );
        assert_eq!(adr_index(&tree(&[record])).len(), 1);
    }

    #[test]
    fn the_map_names_what_exists() {
        let map =
            "`a` is in `crates/a/src/lib.rs`, see `docs/`; a bundle has `config.json`, `/run/x.rs`, `a::b`.";
        let good = tree(&[("ARCHITECTURE.md", map), ("crates/a/src/lib.rs", ""), ("docs/x.md", "")]);
        assert_eq!(architecture(&good, &["a"]), []);
        let gone = tree(&[("ARCHITECTURE.md", map), ("docs/x.md", "")]);
        assert_eq!(said(&architecture(&gone, &["a"])), ["`crates/a/src/lib.rs` does not exist"]);
        assert_eq!(said(&architecture(&good, &["b"])), ["does not mention the crate `b`"]);
    }

    #[test]
    fn the_map_is_short() {
        assert_eq!(architecture(&tree(&[("ARCHITECTURE.md", &"x\n".repeat(201))]), &[]).len(), 1);
        assert_eq!(architecture(&tree(&[]), &[]).len(), 1);
    }

    #[test]
    fn the_change_log_has_room_for_the_next_entry() {
        assert_eq!(changelog(&tree(&[("CHANGELOG.md", "# Changes\n\n## [Unreleased]\n")])), []);
        assert_eq!(changelog(&tree(&[("CHANGELOG.md", "# Changes\n")])).len(), 1);
        assert_eq!(changelog(&tree(&[])).len(), 1);
    }
}
