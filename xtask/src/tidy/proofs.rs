// SPDX-License-Identifier: Apache-2.0
//! A claim about a fault names the test that shows it, and that test is there.

use crate::tidy::Finding;
use crate::tidy::source::Tree;

const DOCUMENT: &str = "docs/faults.md";

/// Every `binary::module::test` in the document is a function of that module of that test binary.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let Some(document) = tree.get(DOCUMENT) else {
        return vec![Finding::of_file(DOCUMENT, "there is no table of faults")];
    };
    let mut found = Vec::new();
    for (index, line) in document.text.lines().enumerate().filter(|(_, line)| line.starts_with("| ")) {
        let tests: Vec<&str> =
            line.split('`').skip(1).step_by(2).filter(|word| word.contains("::")).collect();
        let is_row = !line.contains("| test |");
        if tests.is_empty() && is_row {
            found.push(Finding::at(DOCUMENT, index + 1, "names no test"));
        }
        let gone = tests.into_iter().filter(|test| !exists(tree, test));
        found.extend(gone.map(|test| Finding::at(DOCUMENT, index + 1, format!("there is no test `{test}`"))));
    }
    found
}

fn exists(tree: &Tree, test: &str) -> bool {
    let parts: Vec<&str> = test.split("::").collect();
    let (Some((name, path)), Some(binary)) = (parts.split_last(), parts.first()) else { return false };
    let module = path.join("/");
    let files = [format!("/tests/{module}.rs"), format!("/tests/{binary}/main.rs")];
    let mut texts = tree.files.iter().filter(|file| files.iter().any(|end| file.path.ends_with(end)));
    texts.any(|file| has_word(&file.text, name))
}

/// Whether the text has this name and not only a longer one. Macros make tests too, so that it need not be a function.
fn has_word(text: &str, name: &str) -> bool {
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(name).any(|(at, _)| {
        !is_part(text[..at].chars().next_back()) && !is_part(text[at + name.len()..].chars().next())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::source::tests::file;

    fn found(document: &str) -> usize {
        let files = [
            (DOCUMENT, document),
            ("crates/a/tests/faults/hangs.rs", "async fn in_create() {}"),
            ("crates/a/tests/adoption.rs", "async fn it_is_back() {}"),
        ];
        check(&Tree { files: files.iter().map(|(path, text)| file(path, text)).collect() }).len()
    }

    #[test]
    fn a_claim_names_a_test_that_is_there() {
        assert_eq!(found("text\n| a | b | c | `faults::hangs::in_create` |\n"), 0);
        assert_eq!(found("| a | b | c | `adoption::it_is_back`, `faults::hangs::in_create` |\n"), 0);
        for gone in ["faults::hangs::in_creat", "faults::hangs::in_delete", "faults::killed::in_create"] {
            assert_eq!(found(&format!("| a | b | c | `{gone}` |\n")), 1, "{gone}");
        }
        assert_eq!(found("| a | b | c | |\n"), 1, "a claim without a test");
        assert_eq!(found("| fault | b | c | test |\n|---|---|---|---|\n"), 0);
    }
}
