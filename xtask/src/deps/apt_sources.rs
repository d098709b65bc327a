// SPDX-License-Identifier: Apache-2.0
//! Reads which archive this machine installs from, so that newer suites can be asked of the same one.
//!
//! No host is named in this project: mirror and key are the ones the administrator chose. Both forms of apt's
//! sources are understood, as far as they matter here: `sources.list(5)`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Names that stand for a release without being its code name.
const ALIASES: [&str; 5] = ["stable", "oldstable", "testing", "unstable", "sid"];

/// One enabled archive of binary packages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Source {
    uris: String,
    suites: Vec<String>,
    components: Vec<String>,
    /// As it stands there: a path, a fingerprint, or a whole key over several lines.
    signed_by: Option<String>,
}

impl Source {
    /// The same archive and key, for another suite, with nothing fetched but the list of packages.
    pub(crate) fn stanza(&self, suite: &str, architecture: &str) -> String {
        let key = self.signed_by.as_ref().map(|key| format!("Signed-By: {key}\n")).unwrap_or_default();
        let uris = &self.uris;
        format!(
            "Types: deb\nURIs: {uris}\nSuites: {suite}\nComponents: main\nArchitectures: {architecture}\nTargets: Packages\n{key}"
        )
    }

    fn is_official_looking(&self, all: &[Self], codename: &str) -> bool {
        // Others publish a suite of this name too, but none of them publishes its point releases.
        let updates = format!("{codename}-updates");
        all.iter().any(|other| other.uris == self.uris && other.suites.contains(&updates))
    }
}

/// Reads the sources of the machine.
pub(crate) fn read_machine(etc_apt: &Path) -> Result<Vec<Source>> {
    let mut files = vec![etc_apt.join("sources.list")];
    if let Ok(entries) = std::fs::read_dir(etc_apt.join("sources.list.d")) {
        let mut parts: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        parts.sort();
        files.extend(parts);
    }
    let mut sources = Vec::new();
    for file in files.iter().filter(|file| file.is_file()) {
        // Like apt: a file with another ending is not read.
        let parse = match file.extension().and_then(|ending| ending.to_str()) {
            Some("list") => parse_list,
            Some("sources") => parse_deb822,
            _ => continue,
        };
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        sources.extend(parse(&text));
    }
    Ok(sources)
}

/// The archive that the running release itself comes from.
pub(crate) fn main_archive<'a>(sources: &'a [Source], codename: &str) -> Option<&'a Source> {
    let has_main = |source: &&Source| source.components.iter().any(|component| component == "main");
    let of =
        |source: &&Source, names: &[&str]| source.suites.iter().any(|suite| names.contains(&suite.as_str()));
    let candidates = || sources.iter().filter(has_main);
    candidates()
        .find(|source| of(source, &[codename]) && source.is_official_looking(sources, codename))
        .or_else(|| candidates().find(|source| of(source, &[codename])))
        .or_else(|| candidates().find(|source| of(source, &ALIASES)))
}

/// The value of `VERSION_CODENAME` in `os-release(5)`.
pub(crate) fn codename(os_release: &str) -> Option<&str> {
    let value = os_release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    Some(value.trim().trim_matches(['"', '\'']))
}

/// `deb [options] uri suite component…`, one per line.
fn parse_list(text: &str) -> Vec<Source> {
    text.lines().filter_map(parse_list_line).collect()
}

fn parse_list_line(line: &str) -> Option<Source> {
    let line = line.split('#').next().unwrap_or_default().trim();
    let rest = line.strip_prefix("deb")?;
    let rest =
        rest.strip_prefix(|first: char| first.is_whitespace() || first == '[').map(|_| rest.trim_start())?;
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace().map(str::to_owned);
    let signed_by = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by="));
    Some(Source {
        uris: words.next()?,
        suites: vec![words.next()?],
        components: words.collect(),
        signed_by: signed_by.map(|keys| keys.replace(',', " ")),
    })
}

/// Stanzas of `Field: value`, with continuation lines.
fn parse_deb822(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut stanza: Vec<(String, String)> = Vec::new();
    for line in text.lines().chain([""]) {
        if line.trim().is_empty() {
            sources.extend(source_of(&stanza));
            stanza.clear();
        } else if line.starts_with('#') {
            // A comment may stand between a field and its continuation.
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = stanza.last_mut() {
                value.push('\n');
                value.push_str(line);
            }
        } else if let Some((field, value)) = line.split_once(':') {
            stanza.push((field.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    sources
}

fn source_of(stanza: &[(String, String)]) -> Option<Source> {
    let field = |name: &str| stanza.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str());
    let words = |name: &str| {
        field(name).unwrap_or_default().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let disabled = field("enabled").is_some_and(|value| ["no", "false", "0"].contains(&value));
    if disabled || !words("types").iter().any(|kind| kind == "deb") {
        return None;
    }
    Some(Source {
        uris: words("uris").join(" "),
        suites: words("suites"),
        components: words("components"),
        signed_by: field("signed-by").map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEB822: &str = "\
Types: deb deb-src
# a remark
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /keys/archive.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main

Types: deb
Enabled: no
URIs: http://other.example/debian
Suites: bookworm
Components: main
";

    #[test]
    fn stanzas_are_read_and_disabled_ones_are_not() {
        let sources = parse_deb822(DEB822);
        assert_eq!(sources.len(), 2);
        let main = main_archive(&sources, "bookworm").unwrap();
        assert_eq!(main.uris, "http://mirror.example/debian");
        assert_eq!(main.signed_by.as_deref(), Some("/keys/archive.gpg"));
        assert_eq!(
            main.stanza("sid", "amd64"),
            "Types: deb\nURIs: http://mirror.example/debian\nSuites: sid\nComponents: main\n\
             Architectures: amd64\nTargets: Packages\nSigned-By: /keys/archive.gpg\n"
        );
    }

    #[test]
    fn an_embedded_key_is_kept_whole() {
        let text = "Types: deb\nURIs: http://m\nSuites: x\nComponents: main\nSigned-By:\n -----BEGIN\n .\n mQIN\n -----END\n";
        let stanza = parse_deb822(text)[0].stanza("y", "arm64");
        assert!(stanza.ends_with("Signed-By: \n -----BEGIN\n .\n mQIN\n -----END\n"), "{stanza}");
    }

    #[test]
    fn lines_are_read() {
        let text = "# deb http://no x main\n\
                    deb [arch=amd64 signed-by=/a.gpg,/b.gpg] http://m/debian bookworm main non-free # why\n\
                    deb-src http://m/debian bookworm main\n\
                    deb http://plain/debian bookworm-updates main\n";
        let sources = parse_list(text);
        assert_eq!(sources.len(), 2);
        assert_eq!(sources[0].signed_by.as_deref(), Some("/a.gpg /b.gpg"));
        assert_eq!(sources[0].components, ["main", "non-free"]);
        assert_eq!((sources[1].uris.as_str(), sources[1].signed_by.as_ref()), ("http://plain/debian", None));
    }

    #[test]
    fn a_third_party_with_the_same_suite_is_passed_over() {
        let text = "deb http://vendor bookworm main\n\
                    deb http://tool bookworm stable\n\
                    deb http://m/debian bookworm main\n\
                    deb http://m/debian bookworm-updates main\n";
        assert_eq!(main_archive(&parse_list(text), "bookworm").unwrap().uris, "http://m/debian");
    }

    #[test]
    fn an_alias_serves_where_the_code_name_is_not_used() {
        let sources = parse_list("deb http://m/debian unstable main\n");
        assert!(main_archive(&sources, "forky").is_some());
        assert!(main_archive(&[], "forky").is_none());
    }

    #[test]
    fn the_code_name_is_found() {
        assert_eq!(codename("ID=debian\nVERSION_CODENAME=bookworm\n"), Some("bookworm"));
        assert_eq!(codename("VERSION_CODENAME=\"noble\"\n"), Some("noble"));
        assert_eq!(codename("ID=arch\n"), None);
    }
}
