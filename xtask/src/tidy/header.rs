// SPDX-License-Identifier: Apache-2.0
//! How a file opens: with its licence, and with what it is for.

use crate::tidy::Finding;
use crate::tidy::source::SourceFile;

const LICENCE: &str = "SPDX-License-Identifier: Apache-2.0";

/// The first line of sources and settings is the licence line; a script's `#!` may come before.
pub(crate) fn licence(file: &SourceFile) -> Vec<Finding> {
    let comment = match file.ending() {
        "rs" | "proto" => "//",
        "toml" | "sh" | "yml" | "yaml" => "#",
        _ => return Vec::new(),
    };
    let expected = format!("{comment} {LICENCE}");
    let first = file.text.lines().find(|line| !line.starts_with("#!/"));
    if first == Some(expected.as_str()) {
        return Vec::new();
    }
    vec![Finding::at(&file.path, 1, format!("the first line must be `{expected}`"))]
}

/// Right after it every Rust file says what it is for.
pub(crate) fn module_docs(file: &SourceFile) -> Vec<Finding> {
    if file.ending() != "rs" || file.is_generated() {
        return Vec::new();
    }
    let mut lines = file.text.lines().filter(|line| !line.contains(LICENCE) && !line.trim().is_empty());
    if lines.next().is_some_and(|line| line.len() > 4 && line.starts_with("//! ")) {
        return Vec::new();
    }
    vec![Finding::at(&file.path, 2, "the file must open with `//!`: what it is for, who owns its state")]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::source::tests::file;

    #[test]
    fn the_licence_line_is_asked_for_where_it_belongs() {
        let good = [
            ("a.rs", "// SPDX-License-Identifier: Apache-2.0\n"),
            ("a.toml", "# SPDX-License-Identifier: Apache-2.0\n"),
            ("a.sh", "#!/bin/sh\n# SPDX-License-Identifier: Apache-2.0\n"),
            ("README.md", "# Title\n"),
        ];
        for (path, text) in good {
            assert_eq!(licence(&file(path, text)), [], "{path}");
        }
        for (path, text) in
            [("a.rs", "//! Docs.\n"), ("a.proto", ""), ("a.yml", "// SPDX-License-Identifier: Apache-2.0\n")]
        {
            assert_eq!(licence(&file(path, text)).len(), 1, "{path}");
        }
    }

    #[test]
    fn docs_come_before_code() {
        let spdx = "// SPDX-License-Identifier: Apache-2.0\n";
        assert_eq!(module_docs(&file("a.rs", &format!("{spdx}//! What it is for.\n"))), []);
        assert_eq!(module_docs(&file("a.rs", &format!("{spdx}use std::fs;\n//! Late.\n"))).len(), 1);
        assert_eq!(module_docs(&file("a.rs", &format!("{spdx}//!\n"))).len(), 1);
        assert_eq!(module_docs(&file("a/src/gen/b.rs", spdx)), []);
    }
}
