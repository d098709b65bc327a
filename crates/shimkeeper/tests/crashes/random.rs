// SPDX-License-Identifier: Apache-2.0
//! A process that is killed at any moment of its life.

use std::time::Duration;

use shimkeeper_testkit::TestDirs;
use shimkeeper_testkit::deps::Generation::{V1_6, V1_7, V2_1};

use crate::belief::Belief;
use crate::dice::{Dice, rounds};
use crate::inquest;
use crate::site::{Shims, Site};
use crate::victim::{Swept, Victim};

/// Lets lives begin, and kills them within `span` of the first word.
async fn killed_at_random(shims: Shims, span: Duration, usual: u32) {
    let mut dice = Dice::seeded();
    for round in 0..rounds(usual) {
        let dirs = Swept(TestDirs::new());
        let site = Site::of(&dirs.0, shims);
        let mut belief = Belief::default();
        let mut victim = Victim::start("victim::the_process_to_be_killed", &site, &[]);
        while let Some(said) = victim.next().await {
            belief.hear(&said).unwrap();
            if said == "open" {
                break;
            }
        }
        let moment = dice.up_to(span);
        let listening = async {
            while let Some(said) = victim.next().await {
                belief.hear(&said).unwrap();
            }
        };
        let _ = tokio::time::timeout(moment, listening).await;
        belief.said.push(format!("killed after {moment:?}, in round {round}"));
        victim.kill(&mut belief).await;
        belief.lives.interrupted();
        inquest::hold(&dirs.0, &site, &mut belief).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_any_moment_on_a_fake_shim() {
    killed_at_random(Shims::Fake, Duration::from_millis(120), 12).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_at_any_moment_on_1_6() {
    killed_at_random(Shims::Real(V1_6), Duration::from_millis(600), 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_at_any_moment_on_1_7() {
    killed_at_random(Shims::Real(V1_7), Duration::from_millis(600), 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_at_any_moment_on_2_1() {
    killed_at_random(Shims::Real(V2_1), Duration::from_millis(600), 4).await;
}
