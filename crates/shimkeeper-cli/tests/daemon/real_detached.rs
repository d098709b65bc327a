// SPDX-License-Identifier: Apache-2.0
//! Containers that `shimkeeper run -d` leaves to a daemon, ours or containerd, and what becomes of their output.

use std::io::{BufRead as _, BufReader};

use serde_json::json;

use crate::documented::is_documented;
use crate::place::Place;
use crate::real::outcome;
use crate::support::{collect, until};

#[test]
fn a_whole_life_at_our_daemon() {
    a_whole_life(Place::ours()).close();
}

#[test]
fn a_whole_life_at_containerd() {
    a_whole_life(Place::containerd()).close();
}

fn a_whole_life(place: Place) -> Place {
    let script = "echo out; echo err >&2; trap 'exit 7' TERM; while :; do sleep 0.1; done";
    place.detach(&["-l", "tier=front", "-l", "new=yes"], "life-web", script);
    place.bad(&place.run(&["-d"], "life-web", &["/bin/true"]), 125, "already exists", "--name");

    // What it writes is kept, each stream by itself.
    let logs = |more: &[&str]| place.ran(&[&["logs", "life-web"], more].concat());
    until("the output", || (logs(&[]).out == "out\n" && logs(&[]).err == "err\n").then_some(()));
    let stamped = logs(&["-t", "--tail", "10"]).out;
    let (at, text) = stamped.split_once(' ').unwrap();
    assert!(at.ends_with('Z') && text == "out\n", "{stamped}");
    let told = logs(&["-o", "json"]).out;
    let lines: Vec<serde_json::Value> =
        told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.iter().for_each(is_documented);
    assert!(lines.iter().any(|line| (&line["stream"], &line["text"]) == (&json!("stderr"), &json!("err\n"))));
    assert_eq!(
        (logs(&["--since", "1ms"]).out, logs(&["--since", "1h"]).out),
        (String::new(), "out\n".to_owned())
    );

    // It is found by what it is.
    for filter in ["label=tier=front", "label=new", "id=web", "status=running", "runtime=runc"] {
        assert_eq!(place.good(&["ps", "-q", "--filter", filter]), "life-web\n", "{filter}");
    }
    assert_eq!(place.good(&["ps", "-q", "-a", "-f", "label=tier=back"]), "");
    let top = place.object(&["top", "life-web"]);
    let processes = top["processes"].as_array().unwrap();
    assert!(processes.iter().any(|one| one["command"].as_str().unwrap().contains("trap 'exit 7'")), "{top}");
    let used = &place.object(&["stats", "--no-stream", "--interval", "200ms", "life-web"])["containers"][0];
    assert_eq!(used["id"], "life-web");
    assert!(used["memory_bytes"].as_u64().unwrap() > 0 && used["pids"].as_u64().unwrap() > 0, "{used}");
    assert!(used["cpu_percent"].as_f64().is_some() && used["cpu_ns"].as_u64().unwrap() > 0, "{used}");
    assert!(place.good(&["stats", "--no-stream"]).lines().nth(1).unwrap().starts_with("life-web  "));

    // It ends, and is run again, with its output in the same place.
    let following = place.command(&["logs", "-f", "--tail", "1", "life-web"]).spawn().unwrap();
    assert_eq!(place.good(&["stop", "--time", "60s", "life-web"]), "life-web\n");
    let followed = outcome(following);
    assert_eq!(followed.code, Some(0), "{followed:?}");
    assert_eq!(place.good(&["ps", "-q", "--filter", "exited=7"]), "life-web\n");
    let shown = &place.object(&["inspect", "life"])["containers"][0];
    assert_eq!((&shown["task"]["exit"]["status"], &shown["labels"]["tier"]), (&json!(7), &json!("front")));
    place.bad(&["attach", "life-web"], 125, "it does not run", "shimkeeper logs");
    assert_eq!(place.good(&["start", "life-web"]), "life-web\n");
    assert_eq!(place.good(&["start", "life-web"]), "life-web\n", "it is what was asked for already");
    until("the output of both lives", || (logs(&[]).out == "out\nout\n").then_some(()));
    assert_eq!(place.good(&["pause", "life-web"]), "life-web\n");
    place.bad(&["start", "life-web"], 125, "it is frozen", "unpause");
    place.bad(&["rm", "life-web"], 125, "it is paused", "--force");
    assert_eq!(place.good(&["unpause", "life-web"]), "life-web\n");
    assert_eq!(place.good(&["kill", "-s", "sigkill", "life-web"]), "life-web\n");
    place.becomes("life-web", "stopped");
    assert_eq!(place.good(&["start", "life"]), "life-web\n");
    assert_eq!(place.good(&["pause", "life-web"]), "life-web\n");
    assert_eq!(place.good(&["rm", "-f", "life-web"]), "life-web\n");
    place.bad(&["logs", "life-web"], 125, "no container", "ps -a");
    place
}

#[test]
fn a_containerd_is_told_of_as_far_as_it_tells() {
    let place = Place::containerd();
    // Namespaces are there with the first thing in them.
    place.detach(&["--log-driver", "none"], "told-web", "exec sleep 3600");
    assert!(
        place.object(&["ns"])["namespaces"]
            .as_array()
            .unwrap()
            .iter()
            .any(|ns| ns["name"] == place.namespace())
    );
    assert!(place.object(&["version"])["server"]["version"].as_str().unwrap().contains("2.1"));
    let info = place.object(&["info"]);
    assert!(info["pid"].as_u64().unwrap() > 0 && info["keeper"].is_null(), "{info}");
    place.bad(&["events", "--since", "0"], 125, "ask for the events", "does not serve it");
    let mut events =
        place.command(&["events", "-o", "json", "-f", "topic==\"/tasks/paused\""]).spawn().unwrap();
    let lines = BufReader::new(events.stdout.take().unwrap()).lines();
    let (said, hearing) = std::sync::mpsc::channel();
    let reading =
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(said.send(line))));
    // Nothing says that it is subscribed, so something is made to happen until it is told.
    let line = until("an event", || {
        place.good(&["pause", "told-web"]);
        place.good(&["unpause", "told-web"]);
        hearing.recv_timeout(std::time::Duration::from_millis(100)).ok()
    });
    let event: serde_json::Value = serde_json::from_str(&line).unwrap();
    is_documented(&event);
    assert_eq!(
        (&event["namespace"], &event["event"]["container_id"]),
        (&json!(place.namespace()), &json!("told-web"))
    );
    events.kill().unwrap();
    events.wait().unwrap();
    reading.join().unwrap();
    assert_eq!(place.good(&["rm", "-f", "told-web"]), "told-web\n");
    place.close();
}

#[test]
fn output_is_kept_over_a_restart_of_the_daemon() {
    let mut place = Place::ours();
    place.detach(&[], "over-web", "i=0; while :; do echo $i; i=$((i+1)); sleep 0.05; done");
    let last = |place: &Place| {
        let told = place.good(&["logs", "--tail", "1", "over-web"]);
        told.trim().parse::<u64>().ok()
    };
    let before = until("output", || last(&place));
    place.host().daemon.kill();
    place.host().daemon.start_again();
    until("more output", || last(&place).filter(|number| *number > before + 5));
    let all = place.good(&["logs", "over-web"]);
    assert!(all.lines().enumerate().all(|(number, line)| line == number.to_string()), "{all}");
    assert_eq!(place.good(&["rm", "-f", "over-web"]), "over-web\n");
    place.close();
}

#[test]
fn output_is_kept_to_a_size_and_all_that_is_kept_is_shown() {
    let place = Place::ours();
    let script = "i=0; while [ $i -lt 6000 ]; do echo line $i of many; i=$((i+1)); done";
    place.detach(&["--log-opt", "max-size=64k", "--log-opt", "max-file=2"], "size-web", script);
    let (code, followed, err) = collect(place.command(&["logs", "-f", "size-web"]).spawn().unwrap());
    assert!(code == Some(0) && followed.ends_with("line 5999 of many\n"), "{err}");
    let kept = place.good(&["logs", "size-web"]);
    let mut numbers = kept.lines().map(|line| line.split(' ').nth(1).unwrap().parse::<u32>().unwrap());
    let first = numbers.next().unwrap();
    assert!(first > 0 && numbers.eq(first + 1..6000), "{first}");
    assert_eq!(place.good(&["logs", "--tail", "2", "size-web"]), "line 5998 of many\nline 5999 of many\n");
    let dir =
        std::fs::read_dir(place.logs().join(place.namespace())).unwrap().next().unwrap().unwrap().path();
    let sizes: Vec<u64> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "log"))
        .map(|entry| entry.metadata().unwrap().len())
        .collect();
    assert!(sizes.len() == 2 && sizes.iter().all(|size| *size <= 80 << 10), "{sizes:?}");
    assert_eq!(place.good(&["rm", "size-web"]), "size-web\n");
    place.close();
}

#[test]
fn output_goes_elsewhere_when_told_so() {
    let place = Place::ours();
    let file = place.dirs().path().join("a log");
    let uri = format!("file://{}", file.display().to_string().replace(' ', "%20"));
    place.detach(
        &["--log-driver", &uri],
        "file-web",
        "echo to a file; exec > /dev/null; sleep 0.3; echo both >&2; exec sleep 3600",
    );
    until("the output", || (place.good(&["logs", "file-web"]) == "to a file\nboth\n").then_some(()));
    place.bad(&["logs", "-t", "file-web"], 125, "without times", "--timestamps");
    place.detach(&["--log-driver", "none"], "none-web", "echo to nobody; exec sleep 3600");
    place.bad(&["logs", "none-web"], 125, "not kept", "run -d");
    place.bad(&["attach", "none-web"], 125, "nowhere that can be read", "exec");
    place.bad(&place.run(&["-d", "-i"], "typed-web", &["/bin/cat"]), 125, "only with a terminal", "-d -i -t");
    assert_eq!(place.good(&["rm", "-f", "file-web", "none-web"]), "file-web\nnone-web\n");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "to a file\nboth\n", "it is somebody else's");
    place.close();
}

#[test]
fn what_cannot_start_leaves_nothing() {
    let place = Place::ours();
    place.bad(&place.run(&["-d"], "nope-web", &["/nope"]), 127, "/nope", "root file system");
    place.bad(&place.run(&["-d"], "nope-web", &["/etc"]), 126, "/etc", "execute permission");
    let args = place.run(&["-d", "--runtime", "io.containerd.bogus.v9"], "nope-web", &["/bin/true"]);
    place.bad(&args, 125, "containerd-shim-bogus-v9", "");
    assert_eq!(place.good(&["ps", "-a", "-q"]), "");
    place.close();
}
