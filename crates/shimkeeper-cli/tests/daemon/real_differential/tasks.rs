// SPDX-License-Identifier: Apache-2.0
//! Tasks and their processes: whole lives, and everything that is asked of them at the wrong time.

use shimkeeper_client::Session;
use shimkeeper_proto::containerd::services::containers::v1 as containers;
use shimkeeper_proto::containerd::services::containers::v1::containers_client::ContainersClient;
use shimkeeper_proto::containerd::services::tasks::v1 as wire;
use shimkeeper_proto::containerd::services::tasks::v1::tasks_client::TasksClient;

use super::transcript::Transcript;
use crate::specs::spec;
use crate::support::until;

const KILL: u32 = 9;

/// One method of every kind on what is not there.
pub(super) async fn without_one(script: &mut Transcript) {
    ask_for(script, "nowhere", "no container").await;
    record(script, "bare", &["sleep", "3600"]).await;
    ask_for(script, "bare", "no task").await;
    ask_for(script, "../bare", "no id").await;
    remove(script, "bare").await;
}

async fn ask_for(script: &mut Transcript, id: &str, what: &str) {
    let mut client = TasksClient::new(script.session.clone());
    script.note(&format!("{what}: get"), client.get(get(id, ""))).await;
    script.note(&format!("{what}: start"), client.start(start(id, ""))).await;
    script.note(&format!("{what}: kill"), client.kill(kill(id, "", KILL))).await;
    script.note(&format!("{what}: wait"), client.wait(wait(id, ""))).await;
    script.note(&format!("{what}: delete"), client.delete(delete(id))).await;
    let request = wire::DeleteProcessRequest { container_id: id.into(), exec_id: "e1".into() };
    script.note(&format!("{what}: delete an exec"), client.delete_process(request)).await;
    let request = wire::ListPidsRequest { container_id: id.into() };
    script.note(&format!("{what}: pids"), client.list_pids(request)).await;
    let request = wire::PauseTaskRequest { container_id: id.into() };
    script.note(&format!("{what}: pause"), client.pause(request)).await;
    let filters = vec![format!("id==\"{id}\"")];
    script.note(&format!("{what}: metrics"), client.metrics(wire::MetricsRequest { filters })).await;
    script.note(&format!("{what}: list"), client.list(wire::ListTasksRequest::default())).await;
    if what == "no container" {
        script.note(&format!("{what}: create"), client.create(create(id))).await;
    }
}

/// Made, asked for, and deleted before it ran.
pub(super) async fn that_never_start(script: &mut Transcript) {
    let mut client = TasksClient::new(script.session.clone());
    record(script, "idle", &["sleep", "3600"]).await;
    script.expect("idle", &["/tasks/exit", "/tasks/delete"]);
    script.note("created: create", client.create(create("idle"))).await;
    script.note("created: create twice", client.create(create("idle"))).await;
    script.note("created: get", client.get(get("idle", ""))).await;
    script.note("created: pause", client.pause(wire::PauseTaskRequest { container_id: "idle".into() })).await;
    let request = wire::ResumeTaskRequest { container_id: "idle".into() };
    script.note("created: resume", client.resume(request)).await;
    script.note("created: delete", client.delete(delete("idle"))).await;
    script.note("created: wait for what was deleted", client.wait(wait("idle", ""))).await;
    remove(script, "idle").await;
}

/// What no runtime makes of it.
pub(super) async fn that_fail(script: &mut Transcript) {
    let mut client = TasksClient::new(script.session.clone());
    record(script, "nope", &["/bin/nope"]).await;
    script.note("failing: no such program", client.create(create("nope"))).await;
    script.note("failing: get", client.get(get("nope", ""))).await;
    script.note("failing: no such program, again", client.create(create("nope"))).await;
    remove(script, "nope").await;
    for (id, runtime) in [("bogus", "io.containerd.bogus.v9"), ("odd", "odd"), ("path", "/nowhere/shim")] {
        let mut bad = script.specs.container(id, &["true"]);
        let name = runtime.to_owned();
        bad.runtime = Some(containers::container::Runtime { name, options: None });
        keep(script, bad).await;
        script.note(&format!("failing: runtime {runtime}"), client.create(create(id))).await;
        remove(script, id).await;
    }
    let mut bad = script.specs.container("badspec", &["true"]);
    bad.spec = Some(spec("Spec", b"{\"root\":"));
    keep(script, bad).await;
    script.note("failing: half a spec", client.create(create("badspec"))).await;
    remove(script, "badspec").await;
}

/// From its creation to after its end, asked at every stage.
pub(super) async fn a_life(script: &mut Transcript) {
    let mut client = TasksClient::new(script.session.clone());
    record(script, "web", &["sleep", "3600"]).await;
    script.expect("web", &["/tasks/exit", "/tasks/delete"]);
    let made = wire::CreateTaskRequest {
        stdout: script.output("web"),
        stderr: script.output("web"),
        ..create("web")
    };
    script.note("life: create", client.create(made)).await;
    script.note("life: start", client.start(start("web", ""))).await;
    script.note("life: start twice", client.start(start("web", ""))).await;
    script.note("life: get", client.get(get("web", ""))).await;
    script.note("life: list", client.list(wire::ListTasksRequest::default())).await;
    let filters = vec!["id==web".to_owned()];
    script.note("life: metrics", client.metrics(wire::MetricsRequest { filters })).await;
    let filters = vec!["id===web".to_owned()];
    script.note("life: metrics by a bad filter", client.metrics(wire::MetricsRequest { filters })).await;
    let request = wire::ListPidsRequest { container_id: "web".into() };
    script.note("life: pids", client.list_pids(request)).await;
    let request =
        wire::ResizePtyRequest { container_id: "web".into(), width: 80, height: 24, ..Default::default() };
    script.note("life: resize what has no terminal", client.resize_pty(request)).await;
    let request = wire::CloseIoRequest { container_id: "web".into(), stdin: true, ..Default::default() };
    script.note("life: close its input", client.close_io(request)).await;
    updates(script, &mut client).await;
    frozen(script, &mut client).await;
    script.note("life: delete while it runs", client.delete(delete("web"))).await;
    script.note("life: a signal that is none", client.kill(kill("web", "", 4000))).await;
    let all = wire::KillRequest { all: true, ..kill("web", "", 0) };
    script.note("life: kill with nothing", client.kill(all)).await;
    script.note("life: kill", client.kill(kill("web", "", KILL))).await;
    script.note("life: wait", client.wait(wait("web", ""))).await;
    script.note("ended: wait", client.wait(wait("web", ""))).await;
    script.note("ended: get", client.get(get("web", ""))).await;
    script.note("ended: kill", client.kill(kill("web", "", KILL))).await;
    script.note("ended: start", client.start(start("web", ""))).await;
    script.note("ended: pause", client.pause(wire::PauseTaskRequest { container_id: "web".into() })).await;
    let request = wire::ListPidsRequest { container_id: "web".into() };
    script.note("ended: pids", client.list_pids(request)).await;
    script.note("ended: exec", client.exec(exec(script, "web", "late", &["true"]))).await;
    script.note("ended: delete", client.delete(delete("web"))).await;
    script.note("ended: delete twice", client.delete(delete("web"))).await;
    script.note("ended: list", client.list(wire::ListTasksRequest::default())).await;
    remove(script, "web").await;
}

async fn updates(script: &mut Transcript, client: &mut TasksClient<Session>) {
    let update = |json: &str| wire::UpdateTaskRequest {
        container_id: "web".into(),
        resources: Some(spec("LinuxResources", json.as_bytes())),
        ..wire::UpdateTaskRequest::default()
    };
    let some = update("{\"pids\":{\"limit\":50}}");
    script.note("life: update", client.update(some)).await;
    script.note("life: update with noise", client.update(update("{\"pids\":"))).await;
}

async fn frozen(script: &mut Transcript, client: &mut TasksClient<Session>) {
    let pause = || wire::PauseTaskRequest { container_id: "web".into() };
    let resume = || wire::ResumeTaskRequest { container_id: "web".into() };
    script.note("life: resume what runs", client.resume(resume())).await;
    script.note("life: pause", client.pause(pause())).await;
    script.note("paused: get", client.get(get("web", ""))).await;
    script.note("paused: pause", client.pause(pause())).await;
    script.note("paused: exec", client.exec(exec(script, "web", "cold", &["true"]))).await;
    script.note("paused: delete", client.delete(delete("web"))).await;
    script.note("paused: resume", client.resume(resume())).await;
    script.note("resumed: get", client.get(get("web", ""))).await;
}

/// Processes that are added.
pub(super) async fn of_execs(script: &mut Transcript) {
    let mut client = TasksClient::new(script.session.clone());
    record(script, "host", &["sleep", "3600"]).await;
    script.expect("host", &["/tasks/exit", "/tasks/delete"]);
    client.create(create("host")).await.unwrap();
    client.start(start("host", "")).await.unwrap();
    for (what, id) in [("an empty id", ""), ("a bad id", "a b"), ("a long id", &*"e".repeat(77))] {
        script
            .note(&format!("execs: add with {what}"), client.exec(exec(script, "host", id, &["true"])))
            .await;
    }
    script.note("execs: add", client.exec(exec(script, "host", "e1", &["sleep", "3600"]))).await;
    script.note("execs: add twice", client.exec(exec(script, "host", "e1", &["true"]))).await;
    script.note("execs: get added", client.get(get("host", "e1"))).await;
    script.note("execs: kill added", client.kill(kill("host", "e1", KILL))).await;
    script.note("execs: start", client.start(start("host", "e1"))).await;
    script.note("execs: get", client.get(get("host", "e1"))).await;
    let request = wire::ListPidsRequest { container_id: "host".into() };
    script.note("execs: pids", client.list_pids(request)).await;
    script.note("execs: delete while it runs", client.delete_process(of_exec("e1"))).await;
    script.note("execs: kill", client.kill(kill("host", "e1", KILL))).await;
    script.note("execs: wait", client.wait(wait("host", "e1"))).await;
    script.note("execs: kill ended", client.kill(kill("host", "e1", KILL))).await;
    script.note("execs: get ended", client.get(get("host", "e1"))).await;
    script.note("execs: delete", client.delete_process(of_exec("e1"))).await;
    script.note("execs: delete twice", client.delete_process(of_exec("e1"))).await;
    script.note("execs: get deleted", client.get(get("host", "e1"))).await;
    script.note("execs: kill unknown", client.kill(kill("host", "zz", KILL))).await;
    script.note("execs: wait for unknown", client.wait(wait("host", "zz"))).await;
    script.note("execs: start unknown", client.start(start("host", "zz"))).await;
    script.note("execs: add no program", client.exec(exec(script, "host", "e2", &["/bin/nope"]))).await;
    script.note("execs: start no program", client.start(start("host", "e2"))).await;
    script.note("execs: get no program", client.get(get("host", "e2"))).await;
    script.note("execs: wait for no program", client.wait(wait("host", "e2"))).await;
    script.note("execs: delete no program", client.delete_process(of_exec("e2"))).await;
    script.note("execs: add one that says", client.exec(says(script))).await;
    script.note("execs: delete never started", client.delete_process(of_exec("e3"))).await;
    script.note("execs: add one that says, again", client.exec(says(script))).await;
    script.note("execs: start one that says", client.start(start("host", "e3"))).await;
    script.note("execs: wait for one that says", client.wait(wait("host", "e3"))).await;
    let file = script.output("e3").replace("file://", "");
    until("what it said", || (std::fs::read_to_string(&file).ok()? == "said\n").then_some(()));
    script.note("execs: delete one that says", client.delete_process(of_exec("e3"))).await;
    client.kill(kill("host", "", KILL)).await.unwrap();
    client.wait(wait("host", "")).await.unwrap();
    client.delete(delete("host")).await.unwrap();
    remove(script, "host").await;
}

async fn keep(script: &Transcript, container: containers::Container) {
    let request = containers::CreateContainerRequest { container: Some(container) };
    ContainersClient::new(script.session.clone()).create(request).await.unwrap();
}

async fn record(script: &Transcript, id: &str, args: &[&str]) {
    keep(script, script.specs.container(id, args)).await;
}

async fn remove(script: &mut Transcript, id: &str) {
    let request = containers::DeleteContainerRequest { id: id.into() };
    ContainersClient::new(script.session.clone()).delete(request).await.unwrap();
    script.expect(id, &["/containers/delete"]);
}

fn create(id: &str) -> wire::CreateTaskRequest {
    wire::CreateTaskRequest { container_id: id.into(), ..wire::CreateTaskRequest::default() }
}

fn start(id: &str, exec: &str) -> wire::StartRequest {
    wire::StartRequest { container_id: id.into(), exec_id: exec.into() }
}

fn get(id: &str, exec: &str) -> wire::GetRequest {
    wire::GetRequest { container_id: id.into(), exec_id: exec.into() }
}

fn wait(id: &str, exec: &str) -> wire::WaitRequest {
    wire::WaitRequest { container_id: id.into(), exec_id: exec.into() }
}

fn kill(id: &str, exec: &str, signal: u32) -> wire::KillRequest {
    wire::KillRequest { container_id: id.into(), exec_id: exec.into(), signal, all: false }
}

fn delete(id: &str) -> wire::DeleteTaskRequest {
    wire::DeleteTaskRequest { container_id: id.into() }
}

fn of_exec(exec: &str) -> wire::DeleteProcessRequest {
    wire::DeleteProcessRequest { container_id: "host".into(), exec_id: exec.into() }
}

fn exec(script: &Transcript, id: &str, exec: &str, args: &[&str]) -> wire::ExecProcessRequest {
    wire::ExecProcessRequest {
        container_id: id.into(),
        exec_id: exec.into(),
        spec: Some(script.specs.process(args)),
        ..wire::ExecProcessRequest::default()
    }
}

/// One whose output goes into a file and whose exit code is 3.
fn says(script: &Transcript) -> wire::ExecProcessRequest {
    let args = ["/bin/sh", "-c", "echo said; exit 3"];
    let output = script.output("e3");
    wire::ExecProcessRequest { stdout: output.clone(), stderr: output, ..exec(script, "host", "e3", &args) }
}
