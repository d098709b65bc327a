// SPDX-License-Identifier: Apache-2.0
//! Which crate may depend on which: edges go down only, and a new one is a decision, not an accident.

use crate::tidy::Finding;
use crate::workspace::Package;

/// Every crate of the workspace and the crates of the workspace it may use, from the bottom to the top.
const ALLOWED: [(&str, &[&str]); 15] = [
    ("shimkeeper-core", &[]),
    ("shimkeeper-proto", &[]),
    ("shimkeeper-protogen", &[]),
    ("shimkeeper-ttrpc", &[]),
    ("shimkeeper-client", &[]),
    ("shimkeeper-shim", &["shimkeeper-core", "shimkeeper-proto", "shimkeeper-ttrpc"]),
    ("shimkeeper-events", &["shimkeeper-core", "shimkeeper-proto"]),
    ("shimkeeper-store", &["shimkeeper-core", "shimkeeper-proto", "shimkeeper-events"]),
    (
        "shimkeeper",
        &["shimkeeper-core", "shimkeeper-proto", "shimkeeper-ttrpc", "shimkeeper-shim", "shimkeeper-events"],
    ),
    (
        "shimkeeper-api",
        &["shimkeeper-core", "shimkeeper-proto", "shimkeeper-events", "shimkeeper-store", "shimkeeper"],
    ),
    (
        "shimkeeper-daemon",
        &["shimkeeper-core", "shimkeeper-ttrpc", "shimkeeper", "shimkeeper-store", "shimkeeper-api"],
    ),
    (
        "shimkeeper-cli",
        &[
            "shimkeeper-core",
            "shimkeeper-proto",
            "shimkeeper-client",
            "shimkeeper",
            "shimkeeper-store",
            "shimkeeper-daemon",
        ],
    ),
    ("shimkeeper-testkit", &["shimkeeper-core", "shimkeeper-proto", "shimkeeper-ttrpc", "shimkeeper-events"]),
    (
        "shimkeeper-bench",
        &[
            "shimkeeper-core",
            "shimkeeper-proto",
            "shimkeeper-client",
            "shimkeeper-shim",
            "shimkeeper",
            "shimkeeper-testkit",
        ],
    ),
    ("xtask", &[]),
];

/// What stands at the top: not even a test may reach up to it.
const TOPS: [&str; 3] = ["shimkeeper-cli", "shimkeeper-bench", "xtask"];

/// Where a finding about a crate's edges is shown.
const MANIFEST: &str = "Cargo.toml";

/// Every edge between members is in the table, and every member has its line there.
pub(crate) fn check(packages: &[Package]) -> Vec<Finding> {
    packages.iter().flat_map(|package| check_one(package, packages)).collect()
}

fn check_one(package: &Package, all: &[Package]) -> Vec<Finding> {
    let name = package.name.as_str();
    let Some((_, allowed)) = ALLOWED.iter().find(|(of, _)| *of == name) else {
        return vec![Finding::of_file(MANIFEST, format!("{name} has no line in the table of crate edges"))];
    };
    let members =
        package.dependencies.iter().filter(|edge| all.iter().any(|member| member.name == edge.name));
    members
        .filter_map(|edge| {
            let to = edge.name.as_str();
            let (allowed, how) = if edge.dev {
                (!TOPS.contains(&to), "must not use, even in its tests,")
            } else {
                (allowed.contains(&to), "must not depend on")
            };
            (!allowed).then(|| Finding::of_file(MANIFEST, format!("{name} {how} {to}")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;

    fn package(name: &str, dependencies: &[(&str, bool)]) -> Package {
        let edge = |(name, dev): &(&str, bool)| Dependency { name: (*name).to_owned(), dev: *dev };
        Package { name: name.to_owned(), dependencies: dependencies.iter().map(edge).collect() }
    }

    /// What is found about `name` with these dependencies, in a workspace of all known crates.
    fn found(name: &str, dependencies: &[(&str, bool)]) -> Vec<String> {
        let others = ALLOWED.iter().map(|(other, _)| *other).filter(|other| *other != name);
        let mut all: Vec<Package> = others.map(|other| package(other, &[])).collect();
        all.push(package(name, dependencies));
        check(&all).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn edges_of_the_table_and_outside_crates_are_free() {
        assert!(found("shimkeeper-shim", &[("shimkeeper-core", false), ("tokio", false)]).is_empty());
        assert!(found("shimkeeper-core", &[("shimkeeper-testkit", true)]).is_empty());
    }

    #[test]
    fn an_edge_upwards_is_found() {
        assert_eq!(
            found("shimkeeper-core", &[("shimkeeper-proto", false)]),
            ["shimkeeper-core must not depend on shimkeeper-proto"]
        );
        assert_eq!(found("shimkeeper", &[("shimkeeper-cli", true)]).len(), 1);
    }

    #[test]
    fn an_unknown_crate_must_be_entered() {
        assert_eq!(found("newcomer", &[]), ["newcomer has no line in the table of crate edges"]);
    }

    #[test]
    fn the_table_itself_goes_down_only() {
        for (index, (name, allowed)) in ALLOWED.iter().enumerate() {
            for to in *allowed {
                let place = ALLOWED.iter().position(|(of, _)| of == to);
                assert!(place.is_some_and(|place| place < index), "{name} -> {to}");
            }
        }
    }
}
