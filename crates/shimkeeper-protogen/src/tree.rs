// SPDX-License-Identifier: Apache-2.0
//! Where each package's code goes: one file per package, one module per step of its name. Stateless.
//!
//! prost writes references between packages as `super::super::types::Mount`, so the modules must nest exactly as the
//! packages do.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Generated sources by their path below the `src` directory of shimkeeper-proto.
pub type Sources = BTreeMap<PathBuf, String>;

/// Name of the root module and of its directory.
pub(crate) const ROOT: &str = "gen";

/// Lays out `packages` (code by package name), with `comments` (by package name) as module docs.
pub(crate) fn lay_out(packages: &BTreeMap<String, String>, comments: &BTreeMap<String, String>) -> Sources {
    let mut children = BTreeMap::<String, BTreeSet<String>>::new();
    for package in packages.keys() {
        let mut parent = String::new();
        for step in package.split('.') {
            children.entry(parent.clone()).or_default().insert(step.to_owned());
            parent = join(&parent, step);
        }
        children.entry(parent).or_default();
    }
    children
        .iter()
        .map(|(package, children)| {
            let code = packages.get(package).map_or("", String::as_str);
            let comment = comments.get(package).map_or("", String::as_str);
            (path(package), file(package, comment, children, code))
        })
        .collect()
}

fn join(parent: &str, step: &str) -> String {
    if parent.is_empty() { step.to_owned() } else { format!("{parent}.{step}") }
}

/// `containerd.types` as `gen/containerd/types.rs`; the root as `gen.rs`.
pub(crate) fn path(package: &str) -> PathBuf {
    let mut path = PathBuf::from(ROOT);
    path.extend(package.split('.').filter(|step| !step.is_empty()));
    path.set_extension("rs");
    path
}

fn file(package: &str, comment: &str, children: &BTreeSet<String>, code: &str) -> String {
    let title = match (package, code) {
        ("", _) => "All packages, one module per step of their names.".to_owned(),
        (_, "") => format!("Packages whose names start with `{package}`."),
        (_, _) => format!("Package `{package}`."),
    };
    let mut lines =
        vec!["// SPDX-License-Identifier: Apache-2.0".to_owned(), format!("//! {title}"), "//!".into()];
    if !comment.is_empty() {
        lines.extend(comment.lines().map(|line| format!("//!{line}")));
        lines.push("//!".into());
    }
    lines.push("//! Made by `cargo xtask gen` from the files in `/proto`. Edit those, not this.\n".into());
    lines.extend(children.iter().map(|child| format!("pub mod {child};")));
    lines.push(code.to_owned());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_can_hold_code_and_further_packages() {
        let packages = [("a.b", "struct B;"), ("a.b.c", "struct C;")]
            .map(|(name, code)| (name.into(), code.into()))
            .into();
        let sources = lay_out(&packages, &[("a.b".to_owned(), " About b.\n".to_owned())].into());

        let paths: Vec<_> = sources.keys().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(paths, ["gen/a/b/c.rs", "gen/a/b.rs", "gen/a.rs", "gen.rs"]);
        let b = &sources[&PathBuf::from("gen/a/b.rs")];
        assert!(
            b.starts_with("// SPDX-License-Identifier: Apache-2.0\n//! Package `a.b`.\n//!\n//! About b.\n")
        );
        assert!(b.ends_with("pub mod c;\nstruct B;"));
    }
}
