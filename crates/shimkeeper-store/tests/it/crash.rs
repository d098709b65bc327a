// SPDX-License-Identifier: Apache-2.0
//! A process that writes is killed at any moment: what it was told is done is there, what it had asked for last is
//! there whole or not at all, and nothing else is.
//!
//! This test binary runs itself again with one test selected. That process has several writers, each with ids of its
//! own, and says which write it asks for and which was answered.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use shimkeeper_core::Any;
use shimkeeper_store::{Container, Store};

use crate::support::{SPEC, Site, block_on, container, filters, ns};

const DIR: &str = "SHIMKEEPER_TEST_STORE";
const SEED: &str = "SHIMKEEPER_TEST_SEED";
const WRITERS: u64 = 4;
/// Ids per writer, so that each is made, changed and deleted again and again.
const IDS: u64 = 5;
const ROUNDS: u64 = 12;

/// The `step`th thing a writer does, given what it has: what it makes of which id.
fn step(writer: u64, step: u64, seed: u64, has: &BTreeMap<String, String>) -> (String, Option<String>) {
    let chance =
        (step + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed.wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ writer;
    let chance = (chance ^ (chance >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let id = format!("w{writer}.c{}", (chance >> 8) % IDS);
    let deletes = has.contains_key(&id) && (chance >> 16).is_multiple_of(3);
    // Up to 40 KB, so that records span pages.
    let length = usize::try_from((chance >> 24) % 40_000).unwrap();
    let spec = format!("{writer}.{step}.{}", "x".repeat(length));
    (id, (!deletes).then_some(spec))
}

fn apply(has: &mut BTreeMap<String, String>, (id, spec): (String, Option<String>)) {
    match spec {
        Some(spec) => has.insert(id, spec),
        None => has.remove(&id),
    };
}

async fn write(store: &Store, writer: u64, seed: u64) {
    let ns = ns("default");
    let containers = store.containers(&ns);
    let mut has = BTreeMap::new();
    for number in 0.. {
        let (id, spec) = step(writer, number, seed, &has);
        say(&format!("asked {writer}"));
        match &spec {
            None => containers.delete(&id).await.unwrap(),
            Some(spec) => {
                let record = Container { spec: Some(Any::new(SPEC, spec.clone())), ..container(&id) };
                if has.contains_key(&id) {
                    containers.update(record, &["spec".to_owned()]).await.unwrap();
                } else {
                    containers.create(record).await.unwrap();
                }
            }
        }
        say(&format!("done {writer}"));
        apply(&mut has, (id, spec));
    }
}

/// At once, and past the capture of the test's output.
fn say(word: &str) {
    let _ = std::io::stdout().write_all(format!("writer: {word}\n").as_bytes());
}

#[test]
fn the_process_to_be_killed() {
    let (Ok(dir), Ok(seed)) = (std::env::var(DIR), std::env::var(SEED)) else { return };
    let store = Store::open_or_new(Path::new(&dir)).unwrap();
    let seed = seed.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        tokio::join!(
            write(&store, 0, seed),
            write(&store, 1, seed),
            write(&store, 2, seed),
            write(&store, 3, seed)
        );
    });
}

/// How many writes each writer has asked for and was answered, before it was killed after `kill_after` answers.
fn run_and_kill(site: &Site, seed: u64, kill_after: usize) -> Vec<(u64, u64)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::the_process_to_be_killed", "--nocapture", "--test-threads=1"])
        .env(DIR, site.root())
        .env(SEED, seed.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut counts = vec![(0, 0); usize::try_from(WRITERS).unwrap()];
    let mut answers = 0;
    // To the end of the pipe: what was said before the kill counts, even if it is read after it.
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let Some((_, word)) = line.split_once("writer: ") else { continue };
        let (what, writer) = word.split_once(' ').unwrap();
        let count: &mut (u64, u64) = &mut counts[writer.parse::<usize>().unwrap()];
        if what == "asked" {
            count.0 += 1;
        } else {
            count.1 += 1;
            answers += 1;
        }
        if answers == kill_after {
            let _ = child.kill();
        }
    }
    child.wait().unwrap();
    assert!(answers >= kill_after, "the writers must have got that far: {counts:?}");
    counts
}

#[test]
fn killed_at_any_moment() {
    for round in 0..ROUNDS {
        let site = Site::new();
        // The later kills come when the log has been emptied several times.
        let kill_after = usize::try_from(1 + round * 23).unwrap();
        let counts = run_and_kill(&site, round, kill_after);
        let store = site.open();
        let found = block_on(store.containers(&ns("default")).list(&filters(&[]))).unwrap();
        let spec = |container: &Container| {
            String::from_utf8(container.spec.as_ref().unwrap().value.to_vec()).unwrap()
        };
        let mut rest: BTreeMap<_, _> = found.iter().map(|one| (one.id.clone(), spec(one))).collect();
        for (writer, (asked, done)) in (0..).zip(counts) {
            let prefix = format!("w{writer}.");
            let mut has = BTreeMap::new();
            for number in 0..done {
                let next = step(writer, number, round, &has);
                apply(&mut has, next);
            }
            let mut one_more = has.clone();
            if asked > done {
                let next = step(writer, done, round, &one_more);
                apply(&mut one_more, next);
            }
            let own: BTreeMap<_, _> = rest.extract_if(.., |id, _| id.starts_with(&prefix)).collect();
            let short = |of: &BTreeMap<String, String>| -> Vec<_> {
                of.iter().map(|(id, spec)| format!("{id}={}", spec.get(..8).unwrap_or(spec))).collect()
            };
            assert!(
                own == has || own == one_more,
                "round {round}, writer {writer}, {done} of {asked}: {:?} is neither {:?} nor {:?}",
                short(&own),
                short(&has),
                short(&one_more)
            );
        }
        assert!(rest.is_empty(), "{rest:?}");
    }
}
