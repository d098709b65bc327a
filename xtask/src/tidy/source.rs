// SPDX-License-Identifier: Apache-2.0
//! The text files of the repository, as git knows them.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::shell;

/// A text file: its path from the root, with `/`, and its content.
#[derive(Debug)]
pub(crate) struct SourceFile {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl SourceFile {
    /// What the name ends in.
    pub(crate) fn ending(&self) -> &str {
        ending(&self.path)
    }

    /// Whether a program wrote it: nobody reads such a file for its style.
    pub(crate) fn is_generated(&self) -> bool {
        self.path.contains("/src/gen/")
    }
}

/// Every file of the repository that is text.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) files: Vec<SourceFile>,
}

impl Tree {
    /// Reads what is tracked, and what is new and not ignored: a rule that speaks only after the commit is late.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let mut git = Command::new("git");
        git.current_dir(root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
        let list = shell::output(&mut git).context("tidy judges what git knows")?;
        let mut paths: Vec<&str> = list.split_terminator('\0').collect();
        paths.sort_unstable();
        paths.dedup();
        let mut files = Vec::new();
        for path in paths {
            // A file that was deleted and not yet committed is still listed; a binary one has no lines to judge.
            if let Ok(bytes) = std::fs::read(root.join(path))
                && let Ok(text) = String::from_utf8(bytes)
            {
                files.push(SourceFile { path: path.to_owned(), text });
            }
        }
        Ok(Self { files })
    }

    pub(crate) fn get(&self, path: &str) -> Option<&SourceFile> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Whether a file or a directory of this name exists.
    pub(crate) fn has(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        self.files.iter().any(|file| {
            file.path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }
}

/// What a path ends in, after the last dot of its last part.
pub(crate) fn ending(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.rsplit_once('.').map_or("", |(_, ending)| ending)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A file for the tests of the rules.
    pub(crate) fn file(path: &str, text: &str) -> SourceFile {
        SourceFile { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn a_directory_is_where_a_file_is_below_it() {
        let tree = Tree { files: vec![file("a/b/c.rs", "")] };
        assert!(tree.has("a/b/c.rs") && tree.has("a/b/") && tree.has("a"));
        assert!(!tree.has("a/b/c") && !tree.has("b"));
    }

    #[test]
    fn generated_is_known_by_its_place() {
        assert!(file("crates/p/src/gen/x.rs", "").is_generated());
        assert!(!file("xtask/src/gen.rs", "").is_generated());
    }
}
