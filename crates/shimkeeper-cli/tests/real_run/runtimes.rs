// SPDX-License-Identifier: Apache-2.0
//! Every generation of the shim, with both runtimes.

use shimkeeper_testkit::deps::{self, Generation};

use crate::support::Run;

const GENERATIONS: [Generation; 3] = [Generation::V1_6, Generation::V1_7, Generation::V2_1];

#[test]
fn every_generation_of_the_shim_runs_a_container() {
    for generation in GENERATIONS {
        let run = Run::new().flag("--runtime").flag(deps::shim(generation)).flags(["-i", "-m", "32m"]);
        let outcome = run.output_with_input(&["sh", "-c", "cat; exit 4"], b"through\n".to_vec());
        let seen = (outcome.code, outcome.stdout.as_str(), outcome.stderr.as_str());
        assert_eq!(seen, (Some(4), "through\n", ""), "{generation:?}");
    }
}

#[test]
fn every_generation_tells_a_missing_command() {
    for generation in GENERATIONS {
        let outcome = Run::new().flag("--runtime").flag(deps::shim(generation)).output(&["nope"]);
        assert_eq!(outcome.code, Some(127), "{generation:?}: {}", outcome.stderr);
    }
}

#[test]
fn crun_is_as_good_as_runc() {
    let crun = || Run::new().flags(["--runtime-binary", "crun"]).without_hybrid_cgroups();
    let outcome = crun().flags(["-m", "32m"]).output(&["sh", "-c", "echo out; exit 6"]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(6), "out\n"), "{}", outcome.stderr);
    for (command, code) in [("nope", 127), ("/nope", 127), ("/etc/passwd", 126)] {
        let outcome = crun().output(&[command]);
        assert_eq!(outcome.code, Some(code), "{command}: {}", outcome.stderr);
    }
}
