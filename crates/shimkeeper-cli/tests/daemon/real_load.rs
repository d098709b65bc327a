// SPDX-License-Identifier: Apache-2.0
//! Restarts under load: the daemon is killed and told to stop, in turns, while containers come and go and processes are
//! added. Whoever was not asked to end goes on, and nothing is left that nobody owns.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use shimkeeper_testkit::deps::Generation;

use crate::real::{Client, Host, words};
use crate::support::until;

/// Containers that live through all of it.
const SLEEPERS: usize = 8;
/// How long it goes on; `SHIMKEEPER_LOAD_SECONDS` says otherwise.
const SECONDS: u64 = 20;
/// How long one daemon lives.
const LIFE: Duration = Duration::from_secs(3);

#[test]
fn restarts_under_load_lose_nothing() {
    let mut host = Host::start(Generation::V2_1);
    let names: Vec<_> = (0..SLEEPERS).map(|n| format!("s{n}")).collect();
    for name in &names {
        host.sleeper(name);
    }
    load_and_restart(&mut host, &names);
    for name in &names {
        host.becomes(name, "RUNNING");
        assert_eq!(host.good(["tasks", "exec", "--exec-id", "last", name, "/bin/echo", "on"]), "on\n");
    }
    // What a client was in the middle of is its own to clear up.
    until("a clean slate", || {
        let listed = host.good(["containers", "ls", "-q"]);
        let rest: Vec<_> = listed.lines().filter(|id| id.starts_with('r')).collect();
        for id in &rest {
            host.ctr(["tasks", "rm", "--force", id]);
            host.ctr(["containers", "rm", id]);
        }
        rest.is_empty().then_some(())
    });
    for name in &names {
        host.remove(name);
    }
    assert_eq!(host.good(["tasks", "ls", "-q"]), "");
    host.close();
}

fn load_and_restart(host: &mut Host, names: &[String]) {
    let seconds = std::env::var("SHIMKEEPER_LOAD_SECONDS").ok().and_then(|text| text.parse().ok());
    let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(SECONDS));
    let (over, execs, runs) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let client = host.client();
    let run = |number: usize| host.run(&["--rm"], &format!("r{number}"), &["/bin/true"]);
    let prepared: Vec<_> = (0..2000).map(run).collect();
    let mut restarts = 0;
    std::thread::scope(|scope| {
        for worker in 0..2 {
            let (client, over, execs) = (client.clone(), &over, &execs);
            scope.spawn(move || exec_until(over, execs, &client, worker, names));
        }
        scope.spawn(|| {
            for args in prepared.iter().take_while(|_| !over.load(Ordering::Relaxed)) {
                runs.fetch_add(usize::from(client.ctr(words(args)).code == Some(0)), Ordering::Relaxed);
            }
        });
        while Instant::now() < end {
            let next = Instant::now() + LIFE;
            until("the end of its life", || (Instant::now() >= next).then_some(()));
            if restarts % 2 == 0 {
                host.daemon.kill();
            } else {
                assert!(host.daemon.stop().success());
            }
            host.daemon.start_again();
            restarts += 1;
        }
        over.store(true, Ordering::Relaxed);
    });
    let (execs, runs) = (execs.into_inner(), runs.into_inner());
    assert!(
        execs > 10 && runs > 3,
        "hardly anything happened: {execs} execs, {runs} runs, {restarts} restarts"
    );
}

/// One process after the other, in one container after the other. In the middle of a restart it fails, and may.
fn exec_until(over: &AtomicBool, execs: &AtomicUsize, client: &Client, worker: usize, names: &[String]) {
    for (number, name) in names.iter().cycle().enumerate() {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let id = format!("e{worker}-{number}");
        let code = client.ctr(["tasks", "exec", "--exec-id", &id, name, "/bin/true"]).code;
        execs.fetch_add(usize::from(code == Some(0)), Ordering::Relaxed);
    }
}
