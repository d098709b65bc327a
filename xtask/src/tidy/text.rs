// SPDX-License-Identifier: Apache-2.0
//! Rules about lines: how many, how they end, and what must not be in them.

use crate::tidy::Finding;
use crate::tidy::source::SourceFile;

/// Above this a file is worth a second look.
const LONG_LINES: usize = 500;
/// Above this it must be split.
const TOO_LONG_LINES: usize = 800;

/// Signs of unfinished work. In two halves, or this file would be the first to be found.
const MARKERS: [&str; 5] = [
    concat!("to", "do!("),
    concat!("unimple", "mented!("),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("#[ign", "ore"),
];

/// Whose machine, mirror or registry it is does not belong in a public text. Split for the same reason.
const PLACES: [&str; 6] = [
    concat!("deb.", "debian"),
    concat!(".debian", ".org"),
    concat!("registry.", "npmjs"),
    concat!("index.", "crates.io"),
    concat!("static.", "crates.io"),
    concat!("proxy.", "golang"),
];

/// Directories somebody works in; only at the start of a path.
const WORKPLACES: [&str; 3] = [concat!("/wo", "rk/"), concat!("/work", "space/"), concat!("/Us", "ers/")];

/// A source file that is too long to be read at one sitting.
pub(crate) fn too_long(file: &SourceFile) -> Vec<Finding> {
    size(file, TOO_LONG_LINES + 1, usize::MAX)
}

/// A source file that is on its way there.
pub(crate) fn long(file: &SourceFile) -> Vec<Finding> {
    size(file, LONG_LINES + 1, TOO_LONG_LINES)
}

/// No white space at the end of a line, no tabs.
pub(crate) fn white_space(file: &SourceFile) -> Vec<Finding> {
    if !["rs", "md"].contains(&file.ending()) || file.is_generated() {
        return Vec::new();
    }
    by_line(file, |line| {
        if line.ends_with(char::is_whitespace) {
            return Some("white space at the end of the line".to_owned());
        }
        line.contains('\t').then(|| "a tab; write `\\t` in a string, spaces elsewhere".to_owned())
    })
}

/// Nothing that says "later".
pub(crate) fn markers(file: &SourceFile) -> Vec<Finding> {
    if !["rs", "toml", "sh", "proto"].contains(&file.ending()) || file.is_generated() {
        return Vec::new();
    }
    by_line(file, |line| {
        let marker = MARKERS.iter().find(|marker| line.contains(**marker))?;
        Some(format!("`{marker}` says that something is not finished: finish it, or write an issue"))
    })
}

/// No machine, mirror or registry of somebody's own.
pub(crate) fn places(file: &SourceFile) -> Vec<Finding> {
    // Cargo's own file, which names the registry it resolved from.
    if file.path.ends_with("Cargo.lock") {
        return Vec::new();
    }
    by_line(file, |line| {
        let place = PLACES.iter().find(|place| line.contains(**place));
        let place = place.or_else(|| WORKPLACES.iter().find(|place| starts_a_path(line, place)))?;
        Some(format!("`{place}` is a place outside this project"))
    })
}

fn starts_a_path(line: &str, directory: &str) -> bool {
    let part_of_a_path = |before: char| before.is_alphanumeric() || "._-}/~".contains(before);
    line.match_indices(directory).any(|(at, _)| !line[..at].ends_with(part_of_a_path))
}

fn size(file: &SourceFile, from: usize, to: usize) -> Vec<Finding> {
    let lines = file.text.lines().count();
    let counts = file.ending() == "rs" && !file.is_generated();
    if !counts || !(from..=to).contains(&lines) {
        return Vec::new();
    }
    vec![Finding::of_file(
        &file.path,
        format!("{lines} lines (looked at above {LONG_LINES}, split above {TOO_LONG_LINES})"),
    )]
}

fn by_line(file: &SourceFile, judge: impl Fn(&str) -> Option<String>) -> Vec<Finding> {
    let judged = file.text.split('\n').enumerate().map(|(index, line)| (index + 1, judge(line)));
    judged.filter_map(|(number, what)| Some(Finding::at(&file.path, number, what?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::source::tests::file;

    fn lines(count: usize) -> String {
        "x\n".repeat(count)
    }

    #[test]
    fn length_is_judged_in_two_steps() {
        let cases = [(500, 0, 0), (501, 1, 0), (800, 1, 0), (801, 0, 1)];
        for (count, remarks, failures) in cases {
            let source = file("a.rs", &lines(count));
            assert_eq!((long(&source).len(), too_long(&source).len()), (remarks, failures), "{count}");
        }
        assert_eq!(too_long(&file("a/src/gen/b.rs", &lines(5000))), []);
        assert_eq!(too_long(&file("CHANGELOG.md", &lines(5000))), []);
    }

    #[test]
    fn white_space_is_found_with_its_line() {
        let found = white_space(&file("a.md", "good\nbad \n\ttab\n"));
        assert_eq!(found.iter().map(|finding| finding.line).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(white_space(&file("a.rs", "x\r\n")).len(), 1);
        assert_eq!(white_space(&file("Makefile", "\tx \n")), []);
    }

    #[test]
    fn markers_are_found_in_sources_only() {
        for marker in MARKERS {
            assert_eq!(markers(&file("a.rs", &format!("ok\n{marker}\n")))[0].line, 2);
        }
        assert_eq!(markers(&file("a.md", MARKERS[2])), []);
    }

    #[test]
    fn places_are_found() {
        for place in PLACES.iter().chain(&WORKPLACES) {
            assert_eq!(places(&file("a.md", &format!("see `{place}x`"))).len(), 1, "{place}");
            assert_eq!(places(&file("Cargo.lock", place)), []);
        }
    }

    #[test]
    fn a_directory_inside_another_path_is_nobodys_workplace() {
        let inside = format!("{{root}}{0}x ./a{0}", WORKPLACES[0]);
        assert_eq!(places(&file("a.rs", &inside)), []);
    }
}
