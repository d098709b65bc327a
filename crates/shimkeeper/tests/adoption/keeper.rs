// SPDX-License-Identifier: Apache-2.0
//! A manager in a process of its own, to be killed: this test binary runs itself again with one test selected.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use shimkeeper::events::Filters;
use shimkeeper::{Config, CreateTask, Manager, Task, TaskKey};
use shimkeeper_testkit::{SCRIPT_ENV, SOCKET_DIR_ENV, Script, TestDirs, TestSpec, fake_shim_binary};

const ROLE: &str = "SHIMKEEPER_TEST_KEEPER";
const DIRS: &str = "SHIMKEEPER_TEST_DIRS";

/// What a shim says once it is asked to delete, if its script has it say so.
pub(crate) const DELETING: &str = "/test/deleting";

pub(crate) fn key(id: &str) -> TaskKey {
    TaskKey::parse("ns", id).unwrap()
}

pub(crate) fn config(dirs: &TestDirs) -> Config {
    config_in(&dirs.state(), &dirs.root(), &dirs.sockets())
}

fn config_in(state: &Path, root: &Path, sockets: &Path) -> Config {
    let fake = fake_shim_binary();
    Config::new(state, root).search_path(vec![fake.parent().unwrap().to_owned()]).env(SOCKET_DIR_ENV, sockets)
}

pub(crate) async fn create<const N: usize>(manager: &Manager, id: &str, args: [&str; N]) -> Task {
    let request = CreateTask::new(key(id), TestSpec::fake(args).to_bytes()).runtime("io.containerd.fake.v2");
    manager.create(request).await.unwrap()
}

/// A manager and its only task, which runs as this process.
pub(crate) async fn running(dirs: &TestDirs) -> (Manager, Task, u32) {
    let manager = Manager::open(config(dirs)).await.unwrap();
    let task = create(&manager, "a", ["sleep"]).await;
    let pid = task.start().await.unwrap();
    (manager, task, pid)
}

/// A process that keeps a task.
pub(crate) struct Keeper {
    child: Child,
    said: String,
}

impl Keeper {
    /// Starts it, and waits for its first word.
    pub(crate) async fn start(dirs: &TestDirs, role: &str, script: &Script) -> Self {
        let script_file = dirs.path().join("script.json");
        script.write(&script_file).unwrap();
        let places = [dirs.state(), dirs.root(), dirs.sockets()];
        let places: Vec<_> = places.iter().map(|path| path.to_str().unwrap().to_owned()).collect();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "keeper::the_process_to_be_killed", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .env(DIRS, places.join("\n"))
            .env(SCRIPT_ENV, &script_file)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let said = tokio::task::spawn_blocking(move || {
            let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
            lines.find_map(|line| line.split_once("keeper: ").map(|(_, word)| word.to_owned()))
        });
        let said = said.await.unwrap().expect("the keeper says that it is ready");
        Self { child, said }
    }

    pub(crate) fn pid_of_task(&self) -> u32 {
        self.said.parse().unwrap()
    }

    /// Waits until a process of the launch is there.
    pub(crate) async fn launched(&self, dirs: &TestDirs) {
        let ends = Instant::now() + Duration::from_secs(20);
        let launched = || {
            dirs.leftovers().processes.iter().any(|process| process.command.contains("containerd-shim-fake"))
        };
        while !launched() {
            assert!(Instant::now() < ends, "nothing was launched");
            tokio::task::yield_now().await;
        }
    }

    /// Kills it, as the kernel does when memory is short.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_process_to_be_killed() {
    let (Ok(role), Ok(places)) = (std::env::var(ROLE), std::env::var(DIRS)) else { return };
    let places: Vec<_> = places.lines().map(Path::new).collect();
    let manager = Manager::open(config_in(places[0], places[1], places[2])).await.unwrap();
    if role == "create" {
        println!("keeper: creating");
        create(&manager, "a", ["sleep"]).await;
    } else {
        let task = create(&manager, "a", ["sleep"]).await;
        let pid = task.start().await.unwrap();
        if role == "delete" {
            task.kill(9, true).await.unwrap();
            task.wait().await.unwrap();
            let filter = format!("topic==\"{DELETING}\"");
            let mut events = manager.events(Filters::parse([filter.as_str()]).unwrap()).unwrap();
            let at_it = async {
                events.next().await.unwrap().expect("its shim is at it");
                println!("keeper: {pid}");
            };
            // Killed before it is answered.
            tokio::join!(task.delete(), at_it).0.unwrap();
        }
        println!("keeper: {pid}");
    }
    std::future::pending::<()>().await;
}
