// SPDX-License-Identifier: Apache-2.0
//! A process that is killed at each of its failpoints (`shimkeeper_shim::failpoint`), on fake shims and on real ones.

use shimkeeper_testkit::TestDirs;
use shimkeeper_testkit::deps::Generation;

use crate::belief::Belief;
use crate::dice::rounds;
use crate::inquest;
use crate::site::{Shims, Site};
use crate::victim::{Swept, die_at};

/// Makes two tests of every case, one for each kind of shim. A case is a list of tries; a try is a list of places, one
/// for each process that is killed, one after the other, in the same directories.
macro_rules! cases {
    ($($(#[$doc:meta])* $name:ident $real:ident: $tries:expr;)*) => {
        $(
            $(#[$doc])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                die(Shims::Fake, &$tries).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $real() {
                die(Shims::Real(Generation::V2_1), &$tries).await;
            }
        )*

        #[test]
        fn every_failpoint_is_died_at() {
            let tries: &[&[&[&str]]] = &[$(&$tries.each_ref().map(|places| *places)),*];
            let mut died: Vec<&str> = tries.iter().flat_map(|tries| tries.iter().copied().flatten()).map(|place| {
                place.split(['@', '+']).next().unwrap()
            }).collect();
            died.sort_unstable();
            died.dedup();
            assert_eq!(died, failpoints_of_the_sources());
        }
    };
}

cases! {
    /// The directory is made, and nothing is in it.
    c1_an_empty_bundle real_c1_an_empty_bundle: [&["C1"][..]];
    /// All but the spec.
    c2_no_spec real_c2_no_spec: [&["C2"][..]];
    /// Before the helper, while it runs, and while the server starts up.
    c3_the_helper_runs real_c3_the_helper_runs: [&["C3"][..], &["C3+1"], &["C3+3"], &["C3+6"], &["C3+12"], &["C3+20"], &["C3+40"]];
    /// The helper has answered and nothing of it is noted down.
    c4_nobody_heard_the_answer real_c4_nobody_heard_the_answer: [&["C4"][..], &["C4-remembered"]];
    /// A shim that was dialed and not asked for anything.
    c5_dialed real_c5_dialed: [&["C5"][..]];
    /// The shim is asked to create, and does.
    c6_creating real_c6_creating: [&["C6+80"][..], &["C6"], &["C6+1"], &["C6+5"], &["C6+20"], &["C6+40"]];
    /// It is made, and nobody was told.
    c7_made_and_untold real_c7_made_and_untold: [&["C7"][..], &["C7-live"]];
    /// What has happened is on record, and not published: create, start, and an exit.
    c8_recorded_and_unpublished real_c8_recorded_and_unpublished: [&["C8"][..], &["C8@2"], &["C8@5"], &["C8@6"]];
    /// An exit is published, and that is not on record.
    c8_published_and_unrecorded real_c8_published_and_unrecorded: [&["C8-told"][..], &["C8-told@2"], &["C8-journaled"], &["C8-journaled@2"]];
    /// An exec is made, asked to start, and started, and nobody was told; the same for the init.
    e_exec_and_start real_e_exec_and_start: [&["E1"][..], &["E2"], &["E2+2"], &["E2@2"], &["E2@2+2"], &["E2@2+10"], &["E3"], &["E3@2"]];
    /// Before the shim is asked to delete, and while it does.
    d1_deleting real_d1_deleting: [&["D1"][..], &["D1+1"], &["D1+5"], &["D1+20"]];
    /// It has deleted, and that is not on record.
    d2_deleted_and_unrecorded real_d2_deleted_and_unrecorded: [&["D2"][..]];
    /// Before the shim is asked to leave, and while it does.
    d3_leaving real_d3_leaving: [&["D3"][..], &["D3+1"], &["D3+4"]];
    /// The `delete` action runs; it goes on alone.
    d4_reaping real_d4_reaping: [&["D4"][..], &["D4+2"], &["D4+10"], &["D4+30"], &["D4-reaped"]];
    /// What a dead shim left is killed, and that is not on record.
    d4_killed_and_unrecorded real_d4_killed_and_unrecorded: [&["D4-killed"][..], &["D4-killed+2"], &["D4-killed+10"]];
    /// Unmounted, and still under its name: the scratch directory, and the bundle.
    d5_unmounted real_d5_unmounted: [&["D5"][..], &["D5@2"]];
    /// Under its hidden name, and not deleted.
    d6_hidden real_d6_hidden: [&["D6"][..], &["D6@2"]];
    /// The scratch directory is gone, and the bundle is not.
    d7_half_removed real_d7_half_removed: [&["D7"][..]];
    /// Killed once more while it looks at what the first death left, and while it clears it up.
    l_adopting real_l_adopting: [
        &["E3", "L1"][..],
        &["E3", "L1", "L3", "L4"],
        &["D1", "L3", "L4"],
        &["C4", "L2"],
        &["C4", "L1", "L2"],
        &["C6+1", "L1"],
        &["D4", "L1+5"],
        &["D2", "L1+20"],
        &["C4", "D6@2"],
        &["C3+6", "L2", "D7"],
    ];
}

async fn die(shims: Shims, tries: &[&[&str]]) {
    for round in 0..rounds(1) {
        for places in tries {
            let dirs = Swept(TestDirs::new());
            let mut site = Site::of(&dirs.0, shims);
            // A life that ends well has no need of the `delete` action.
            site.always_reap = places[0].starts_with("D4");
            let mut belief = Belief::default();
            belief.said.push(format!("round {round} of {places:?}"));
            die_at(places, &site, &mut belief).await;
            inquest::hold(&dirs.0, &site, &mut belief).await;
        }
    }
}

/// The names of all places to die at, sorted.
fn failpoints_of_the_sources() -> Vec<String> {
    fn collect(dir: &std::path::Path, names: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                collect(&entry.path(), names);
            } else if entry.file_name() != "failpoint.rs" {
                let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
                let found = text.split("failpoint::hit(\"").skip(1);
                names.extend(found.map(|rest| rest.split('"').next().unwrap().to_owned()));
            }
        }
    }
    let crates = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut names = Vec::new();
    for source in ["shimkeeper/src", "shimkeeper-shim/src"] {
        collect(&crates.join(source), &mut names);
    }
    names.sort_unstable();
    names.dedup();
    assert!(!names.is_empty());
    names
}
