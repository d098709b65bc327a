// SPDX-License-Identifier: Apache-2.0
//! The process to be killed: started, listened to, and seen to die.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use shimkeeper_testkit::TestDirs;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::belief::Belief;
use crate::life::{self, SAYS};
use crate::site::Site;

/// Nothing here should take a tenth of it.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Names the test that is run in the process, by what it does there.
const ROLE: &str = "SHIMKEEPER_TEST_ROLE";

/// A process that keeps tasks.
pub(crate) struct Victim {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Victim {
    /// Starts the test `role` of this binary in a process of its own, on a site.
    pub(crate) fn start(role: &str, site: &Site, env: &[(&str, &str)]) -> Self {
        let (name, value) = site.to_env();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", role, "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .env(name, value)
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next thing it says; `None` at its end.
    ///
    /// Cancel safe: a line is taken whole or not at all.
    pub(crate) async fn next(&mut self) -> Option<String> {
        while let Some(line) = self.lines.next_line().await.unwrap() {
            // The test harness writes the name of the test in front of the first.
            if let Some((_, said)) = line.split_once(SAYS) {
                return Some(said.to_owned());
            }
        }
        None
    }

    /// Listens until it is dead; answers how it died.
    pub(crate) async fn dies(mut self, belief: &mut Belief) -> ExitStatus {
        let listening = async {
            while let Some(line) = self.next().await {
                belief.hear(&line).unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, listening).await.expect("it dies in time");
        self.child.wait().await.unwrap()
    }

    /// Kills it, and takes in what it had said by then.
    pub(crate) async fn kill(mut self, belief: &mut Belief) -> ExitStatus {
        self.child.start_kill().unwrap();
        self.dies(belief).await
    }
}

/// A process lives a life and is killed in it; then another one, as often as there is a place to be killed at.
pub(crate) async fn die_at(places: &[&str], site: &Site, belief: &mut Belief) {
    for place in places {
        let victim =
            Victim::start("victim::the_process_to_be_killed", site, &[("SHIMKEEPER_FAILPOINT", place)]);
        let died = victim.dies(belief).await;
        assert!(!died.success(), "{place} is not come to: {:#?}", belief.said);
        assert!(
            !belief.said.iter().any(|said| said == "survived"),
            "it did not die at {place} but later: {:#?}",
            belief.said
        );
        belief.said.push(format!("killed at {place}"));
        belief.lives.interrupted();
    }
}

/// What the process does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_to_be_killed() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    life::live(&Site::inherited().unwrap()).await;
}

/// Directories that are swept when a test fails, containers and all.
pub(crate) struct Swept(pub(crate) TestDirs);

impl Drop for Swept {
    fn drop(&mut self) {
        if std::thread::panicking() && self.0.sweep().is_ok() {
            shimkeeper_testkit::oracle::sweep(&self.0, &[]);
        }
    }
}
