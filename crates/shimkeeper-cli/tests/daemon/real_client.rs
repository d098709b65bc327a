// SPDX-License-Identifier: Apache-2.0
//! The commands that talk to a daemon, about containers that another client made.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use shimkeeper_testkit::deps::Generation;

use crate::documented::is_documented;
use crate::real::{Host, Outcome, outcome, words};
use crate::support::{BINARY, until};

/// The command, told by its environment which daemon is meant.
fn command(host: &Host, args: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(args).env("SHIMKEEPER_ADDRESS", host.daemon.address()).env_remove("CONTAINERD_NAMESPACE");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn ran(host: &Host, args: &[&str]) -> Outcome {
    outcome(command(host, args).spawn().unwrap())
}

/// That it ended well; what it printed.
fn good(host: &Host, args: &[&str]) -> String {
    let outcome = ran(host, args);
    assert_eq!(
        (outcome.code, outcome.err.as_str()),
        (Some(0), ""),
        "{args:?} {outcome:?}\n{}",
        host.daemon.log()
    );
    outcome.out
}

/// The object that it printed.
fn object(host: &Host, args: &[&str]) -> Value {
    let told = serde_json::from_str(&good(host, &[args, &["-o", "json"]].concat())).unwrap();
    is_documented(&told);
    told
}

/// That it failed, with one line of what and one of what next.
fn bad(host: &Host, args: &[&str], what: &str, hint: &str) {
    let outcome = ran(host, args);
    assert_eq!(outcome.code, Some(125), "{outcome:?}");
    let [said, next] = outcome.err.lines().collect::<Vec<_>>().try_into().unwrap();
    assert!(said.starts_with("shimkeeper: ") && said.contains(what), "{what} in {said}");
    assert!(next.starts_with("  hint: ") && next.contains(hint), "{hint} in {next}");
}

fn shell(script: &str) -> [&str; 3] {
    ["/bin/sh", "-c", script]
}

#[test]
fn containers_are_listed_shown_frozen_ended_and_removed() {
    let host = Host::start(Generation::V2_1);
    host.sleeper("web-listed");
    host.sleeper("worker-listed");
    host.good(words(&host.run(&["-d"], "done-listed", &shell("exit 3"))));
    host.becomes("done-listed", "STOPPED");

    assert_eq!(good(&host, &["ps", "-q"]), "web-listed\nworker-listed\n");
    assert_eq!(good(&host, &["ps", "-a", "-q"]), "done-listed\nweb-listed\nworker-listed\n");
    assert_eq!(good(&host, &["ps", "-q", "--namespace", "other"]), "");
    let listed = good(&host, &["ps", "-a"]);
    let first = listed.lines().nth(1).unwrap();
    assert!(
        listed.starts_with("ID ") && first.starts_with("done-listed") && first.contains("stopped (3)"),
        "{listed}"
    );
    let listed = object(&host, &["ps"]);
    assert_eq!(
        (&listed["schema"], &listed["containers"][0]["id"]),
        (&json!("shimkeeper.ps/1"), &json!("web-listed"))
    );
    assert_eq!(listed["containers"][0]["task"]["status"], "running");

    let ended = &object(&host, &["inspect", "d"])["containers"][0];
    assert_eq!((&ended["id"], &ended["task"]["exit"]["status"]), (&json!("done-listed"), &json!(3)));
    assert_eq!(ended["task"]["exit"]["provenance"], "observed");
    let shown = &object(&host, &["inspect", "web-listed"])["containers"][0];
    assert_eq!(
        (&shown["shim"]["health"], &shown["spec"]["process"]["args"][1]),
        (&json!("healthy"), &json!("3600"))
    );
    assert!(good(&host, &["inspect", "web-listed"]).contains("containerd-shim-runc-v2"));

    bad(&host, &["kill", "w"], "\"w\" may be any of 2: web-listed, worker-listed", "more of the id");
    bad(&host, &["inspect", "none"], "no container \"none\"", "ps -a");
    bad(&host, &["rm", "web-listed"], "remove web-listed: it is running", "--force");

    assert_eq!(good(&host, &["pause", "we"]), "web-listed\n");
    assert_eq!(host.state("web-listed").as_deref(), Some("PAUSED"));
    assert_eq!(good(&host, &["ps", "-q"]), "web-listed\nworker-listed\n", "what is frozen is not over");
    assert_eq!(good(&host, &["unpause", "web-listed"]), "web-listed\n");
    assert_eq!(host.state("web-listed").as_deref(), Some("RUNNING"));
    bad(&host, &["unpause", "done-l"], "unpause done-listed", "log");

    // What fails for one does not keep the others from it.
    let half = ran(&host, &["rm", "done-listed", "gone", "-o", "json"]);
    let told: Value = serde_json::from_str(&half.out).unwrap();
    is_documented(&told);
    assert_eq!((half.code, &told["done"]), (Some(125), &json!(["done-listed"])), "{half:?}");
    assert_eq!(
        (&told["failed"][0]["id"], &told["failed"][0]["error"]["kind"]),
        (&json!("gone"), &json!("not found"))
    );

    assert_eq!(good(&host, &["kill", "--signal", "sigkill", "web-listed"]), "web-listed\n");
    host.becomes("web-listed", "STOPPED");
    assert_eq!(good(&host, &["rm", "-f", "web-listed", "wor"]), "web-listed\nworker-listed\n");
    assert_eq!(good(&host, &["ps", "-a", "-q"]), "");
    assert_eq!(host.good(["containers", "ls", "-q"]), "");
    host.close();
}

#[test]
fn stop_asks_first_and_kills_what_does_not_listen() {
    let host = Host::start(Generation::V2_1);
    let polite = "trap 'exit 9' TERM; echo; while :; do sleep 0.1; done";
    host.good(words(&host.run(&["-d"], "polite-one", &shell(polite))));
    // As init of its namespace it does not get a TERM that it has no handler for.
    host.sleeper("deaf-one");
    host.sleeper("frozen-one");
    host.good(["tasks", "pause", "frozen-one"]);
    let status =
        |id: &str| object(&host, &["inspect", id])["containers"][0]["task"]["exit"]["status"].clone();

    // The handler is there once the shell has come to sleep.
    until("a child of the shell", || {
        (host.good(["tasks", "ps", "polite-one"]).lines().count() > 2).then_some(())
    });
    assert_eq!(good(&host, &["stop", "--time", "60s", "polite-one"]), "polite-one\n");
    assert_eq!(status("polite-one"), 9);
    assert_eq!(good(&host, &["stop", "-t", "200ms", "deaf-one", "frozen-one"]), "deaf-one\nfrozen-one\n");
    assert_eq!([status("deaf-one"), status("frozen-one")], [json!(137), json!(137)]);
    assert_eq!(good(&host, &["stop", "deaf-one"]), "deaf-one\n", "it is what was asked for already");
    assert_eq!(
        good(&host, &["rm", "deaf-one", "frozen-one", "polite-one"]),
        "deaf-one\nfrozen-one\npolite-one\n"
    );
    bad(&host, &["stop", "deaf-one"], "no container", "ps -a");
    host.close();
}

#[test]
fn events_are_told_one_on_a_line() {
    let host = Host::start(Generation::V2_1);
    assert_eq!(host.ctr(words(&host.run(&["--rm"], "one-told", &shell("exit 4")))).code, Some(4));
    // Those that are kept come at once, so nothing must be waited for.
    let args = ["events", "--since", "0", "--namespace", "default", "-o", "json"];
    let mut events = command(&host, &args).spawn().unwrap();
    let lines = BufReader::new(events.stdout.take().unwrap()).lines();
    let mut told: Vec<Value> = Vec::new();
    for line in lines {
        told.push(serde_json::from_str(&line.unwrap()).unwrap());
        is_documented(told.last().unwrap());
        if told.last().unwrap()["topic"] == "/tasks/delete" {
            break;
        }
    }
    events.kill().unwrap();
    events.wait().unwrap();
    let topics: Vec<&Value> = told.iter().map(|event| &event["topic"]).collect();
    assert_eq!(topics, ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]);
    let exit = &told[2];
    assert_eq!((&exit["schema"], &exit["namespace"]), (&json!("shimkeeper.event/1"), &json!("default")));
    assert_eq!(
        (&exit["event"]["container_id"], &exit["event"]["exit_status"]),
        (&json!("one-told"), &json!(4))
    );
    assert!(told.is_sorted_by_key(|event| event["sequence"].as_u64()), "{told:?}");

    // The others come as they happen, records' among them.
    let mut events = command(&host, &["events", "--filter", "topic~=^/namespaces/"]).spawn().unwrap();
    let lines = BufReader::new(events.stdout.take().unwrap()).lines();
    let (said, hearing) = std::sync::mpsc::channel();
    let reading =
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(said.send(line))));
    let mut number = 0;
    let line = until("an event", || {
        number += 1;
        host.good(["namespaces", "create", &format!("n{number}"), "a=b"]);
        hearing.recv_timeout(std::time::Duration::from_millis(100)).ok()
    });
    assert!(line.contains("/namespaces/create") && line.contains(r#""labels":{"a":"b"}"#), "{line}");
    events.kill().unwrap();
    events.wait().unwrap();
    reading.join().unwrap();
    bad(&host, &["events", "--filter", "=="], "subscribe to events", "hint");
    host.close();
}

#[test]
fn the_daemon_itself_is_told_of_or_told_to_be_away() {
    let mut host = Host::start(Generation::V2_1);
    host.sleeper("kept-told");
    host.good(["namespaces", "create", "team-told", "color=blue"]);
    let version = object(&host, &["version"]);
    assert_eq!(version["client"], json!({"version": env!("CARGO_PKG_VERSION"), "revision": null}));
    assert_eq!(version["server"]["version"], env!("CARGO_PKG_VERSION"));
    let info = object(&host, &["info"]);
    assert_eq!(info["pid"], host.daemon.pid());
    assert_eq!(info["keeper"]["shims"], json!({"healthy": 1}));
    assert!(
        good(&host, &["info"]).lines().any(|line| line.starts_with("shims ") && line.ends_with(" 1 healthy"))
    );
    assert!(good(&host, &["ns"]).lines().any(|line| line == "team-told  color=blue"));
    host.daemon.kill();
    bad(&host, &["ps"], "connect to the daemon at", "--address");
    host.daemon.start_again();
    assert_eq!(good(&host, &["rm", "-f", "kept-told"]), "kept-told\n");
    host.good(["namespaces", "rm", "team-told"]);
    host.close();
}
