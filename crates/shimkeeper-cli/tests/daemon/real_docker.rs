// SPDX-License-Identifier: Apache-2.0
//! dockerd of the distribution, and a newer one, on the daemon, with storage of their own: what people do with docker, and restarts of
//! either while containers run and end.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use shimkeeper_testkit::deps::{self, Generation};

use crate::real::{Host, Outcome, outcome};
use crate::support::{PATIENCE, ended_within, until};

/// Which dockerd.
#[derive(Clone, Copy, Debug)]
enum Release {
    /// 20.10, of the distribution.
    Old,
    /// 26.1 or later.
    New,
}

/// Every case for every release, each a test.
macro_rules! for_each_release {
    ($($case:ident),+ $(,)?) => {
        mod old { $(#[test] fn $case() { super::$case(super::Release::Old); })+ }
        mod new { $(#[test] fn $case() { super::$case(super::Release::New); })+ }
    };
}

for_each_release!(
    what_people_do_with_docker_works,
    it_restarts_what_fails_and_asks_what_is_healthy,
    a_service_of_a_swarm_survives_the_kill_of_a_replica,
    restarts_of_either_lose_no_container_and_no_exit,
);

impl Release {
    fn program(self) -> PathBuf {
        match self {
            Self::Old => PathBuf::from("/usr/sbin/dockerd"),
            Self::New => deps::newer_dockerd(),
        }
    }
}

/// dockerd, and what it runs on.
struct Docker {
    release: Release,
    dockerd: Option<Child>,
    host: Host,
}

impl Docker {
    /// With an image `busybox:test`.
    fn start(release: Release) -> Self {
        let mut docker = Self { release, dockerd: None, host: Host::start(Generation::V1_6) };
        docker.launch();
        docker.import();
        docker
    }

    fn import(&self) {
        let tar = Command::new("tar").arg("-C").arg(deps::rootfs()).args(["-c", "."]).output().unwrap();
        let mut import = self.command();
        import.args(["import", "-", "busybox:test"]).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut import = import.spawn().unwrap();
        import.stdin.take().unwrap().write_all(&tar.stdout).unwrap();
        assert!(import.wait().unwrap().success(), "{}", self.log());
    }

    /// One that may be in a swarm, which those that keep containers over a restart of theirs may not. It has a network
    /// of its own: its ports are everybody's elsewhere.
    fn start_for_swarm(release: Release) -> Self {
        let mut docker = Self { release, dockerd: None, host: Host::start(Generation::V1_6) };
        let mut alone = Command::new("unshare");
        alone.args(["--net", "sh", "-c", "ip link set lo up; exec \"$0\" \"$@\""]).arg(release.program());
        docker.launch_as(alone, &[]);
        docker.import();
        docker
    }

    fn launch(&mut self) {
        self.launch_as(Command::new(self.release.program()), &["--live-restore"]);
    }

    fn launch_as(&mut self, mut command: Command, flags: &[&str]) {
        let dirs = &self.host.daemon.dirs;
        let log =
            std::fs::File::options().create(true).append(true).open(dirs.path().join("dockerd.log")).unwrap();
        command.arg("--containerd").arg(self.host.daemon.address());
        command
            .arg("--data-root")
            .arg(dirs.path().join("data"))
            .arg("--exec-root")
            .arg(dirs.path().join("exec"));
        command.arg("--pidfile").arg(dirs.path().join("d.pid"));
        command.arg("--host").arg(format!("unix://{}", dirs.path().join("d.sock").display()));
        command.args(["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"]);
        command.args(["--ip-masq=false", "--storage-driver=vfs"]).args(flags);
        command.arg("--cgroup-parent").arg(dirs.cgroup());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.dockerd = Some(command.spawn().expect("dockerd is installed: see `cargo xtask deps --tests`"));
        until("dockerd", || (self.docker(&["version"]).code == Some(0)).then_some(()));
    }

    fn command(&self) -> Command {
        let mut command = Command::new("/usr/bin/docker");
        command
            .arg("--host")
            .arg(format!("unix://{}", self.host.daemon.dirs.path().join("d.sock").display()));
        // Nobody's settings but ours.
        command.env("DOCKER_CONFIG", self.host.daemon.dirs.path());
        command
    }

    fn docker(&self, args: &[&str]) -> Outcome {
        let mut command = self.command();
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        outcome(command.spawn().unwrap())
    }

    fn good(&self, args: &[&str]) -> String {
        let outcome = self.docker(args);
        assert_eq!(outcome.code, Some(0), "{args:?}: {outcome:?}\n{}", self.log());
        outcome.out
    }

    /// `docker run` of a container of the tests.
    fn run(&self, flags: &[&str], command: &[&str]) -> Outcome {
        let marked = format!("SHIMKEEPER_TEST={}", self.host.daemon.dirs.path().display());
        let fixed = ["run", "--network=none", "--env", &marked];
        self.docker(&[&fixed, flags, &["busybox:test"], command].concat())
    }

    /// `docker run -d`.
    fn background(&self, name: &str, flags: &[&str], command: &[&str]) {
        let started = self.run(&[&["-d", "--name", name], flags].concat(), command);
        assert_eq!(started.code, Some(0), "{started:?}\n{}", self.log());
    }

    fn inspect(&self, name: &str, what: &str) -> String {
        self.good(&["inspect", "--format", &format!("{{{{{what}}}}}"), name]).trim().to_owned()
    }

    fn becomes(&self, name: &str, what: &str, value: &str) {
        until(&format!("{value} as {what} of {name}"), || (self.inspect(name, what) == value).then_some(()));
    }

    fn stop(&mut self) {
        let mut dockerd = self.dockerd.take().unwrap();
        kill_process(Pid::from_child(&dockerd), Signal::TERM).unwrap();
        let in_time = ended_within(&dockerd, PATIENCE);
        if !in_time {
            dockerd.kill().unwrap();
        }
        dockerd.wait().unwrap();
        assert!(in_time, "dockerd did not end:\n{}", self.log());
    }

    fn log(&self) -> String {
        let path = self.host.daemon.dirs.path().join("dockerd.log");
        let docker = std::fs::read_to_string(path).unwrap_or_default();
        format!("dockerd:\n{docker}\nshimkeeper:\n{}", self.host.daemon.log())
    }

    fn close(self) {
        self.close_after(|| ());
    }

    /// Ends both, and in between does what dockerd does not.
    fn close_after(mut self, tidy: impl FnOnce()) {
        assert_eq!(self.good(&["ps", "-aq"]), "");
        self.stop();
        tidy();
        let Self { host, .. } = &mut self;
        // Taken apart by hand: dockerd's end is looked after by a destructor.
        assert!(host.daemon.stop().success());
        shimkeeper_testkit::oracle::nothing_left(&host.daemon.dirs, &[]);
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        if let Some(mut dockerd) = self.dockerd.take() {
            let _ = dockerd.kill();
            let _ = dockerd.wait();
        }
    }
}

fn what_people_do_with_docker_works(release: Release) {
    let docker = Docker::start(release);
    let hello = docker.run(&["--rm"], &["/bin/echo", "hello"]);
    assert_eq!((hello.code, hello.out.as_str()), (Some(0), "hello\n"), "{hello:?}");
    assert_eq!(docker.run(&["--rm"], &["/bin/sh", "-c", "exit 42"]).code, Some(42));
    let missing = docker.run(&["--rm"], &["/bin/nope"]);
    assert_eq!(missing.code, Some(127), "{missing:?}");

    docker.background("web", &["--memory=64m"], &["/bin/sh", "-c", "echo up; exec sleep 3600"]);
    assert_eq!(docker.good(&["exec", "web", "/bin/echo", "inside"]), "inside\n");
    assert_eq!(docker.docker(&["exec", "web", "/bin/sh", "-c", "exit 5"]).code, Some(5));
    let failed = docker.docker(&["exec", "web", "/bin/nope"]);
    assert!(matches!(failed.code, Some(126 | 127)), "{failed:?}");
    until("output", || (docker.good(&["logs", "web"]) == "up\n").then_some(()));
    assert!(docker.good(&["top", "web"]).contains("sleep 3600"));
    let stats =
        docker.good(&["stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}} {{.MemUsage}}", "web"]);
    assert!(stats.starts_with("web 1 ") && stats.contains("64MiB"), "{stats}");
    docker.good(&["pause", "web"]);
    docker.becomes("web", ".State.Status", "paused");
    docker.good(&["unpause", "web"]);
    docker.becomes("web", ".State.Status", "running");
    docker.good(&["update", "--memory=96m", "--memory-swap=96m", "web"]);
    docker.good(&["stop", "--time=1", "web"]);
    assert_eq!(docker.inspect("web", ".State.ExitCode"), "137");
    docker.good(&["start", "web"]);
    docker.good(&["kill", "--signal=KILL", "web"]);
    docker.becomes("web", ".State.Running", "false");
    docker.good(&["rm", "web"]);
    docker.close();
}

fn it_restarts_what_fails_and_asks_what_is_healthy(release: Release) {
    let docker = Docker::start(release);
    docker.background("fails", &["--restart=on-failure:2"], &["/bin/sh", "-c", "exit 3"]);
    docker.becomes("fails", ".RestartCount", "2");
    docker.becomes("fails", ".State.Running", "false");
    assert_eq!(docker.inspect("fails", ".State.ExitCode"), "3");
    let health = ["--health-cmd=test -e /healthy || exit 1", "--health-interval=200ms", "--health-retries=1"];
    docker.background("asked", &health, &["/bin/sleep", "3600"]);
    docker.becomes("asked", ".State.Health.Status", "unhealthy");
    docker.good(&["exec", "asked", "/bin/touch", "/healthy"]);
    docker.becomes("asked", ".State.Health.Status", "healthy");
    docker.good(&["rm", "--force", "asked", "fails"]);
    docker.close();
}

fn a_service_of_a_swarm_survives_the_kill_of_a_replica(release: Release) {
    let docker = Docker::start_for_swarm(release);
    docker.good(&["swarm", "init", "--advertise-addr=127.0.0.1", "--listen-addr=127.0.0.1:2377"]);
    let marked = format!("--env=SHIMKEEPER_TEST={}", docker.host.daemon.dirs.path().display());
    let create = ["service", "create", "--name=pair", "--replicas=2", "--network=host", "--no-resolve-image"];
    let command = ["--restart-delay=100ms", "--detach", &marked, "busybox:test", "/bin/sleep", "3600"];
    docker.good(&[&create[..], &command].concat());
    let running = || -> Vec<String> {
        let mut ids: Vec<_> = docker.good(&["ps", "-q", "--no-trunc"]).lines().map(str::to_owned).collect();
        ids.sort();
        ids
    };
    let both = until("two replicas", || Some(running()).filter(|ids| ids.len() == 2));
    let pid: i32 = docker.inspect(&both[0], ".State.Pid").parse().unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    let after =
        until("another replica", || Some(running()).filter(|ids| ids.len() == 2 && !ids.contains(&both[0])));
    assert!(after.contains(&both[1]), "the other one was left alone");
    assert_eq!(docker.inspect(&both[0], ".State.ExitCode"), "137");
    docker.good(&["service", "rm", "pair"]);
    until("their end", || docker.good(&["ps", "-aq"]).is_empty().then_some(()));
    docker.good(&["swarm", "leave", "--force"]);
    let exec = docker.host.daemon.dirs.path().join("exec/netns/default");
    docker.close_after(|| {
        // That of its own network, which containers had through it; dockerd forgets it.
        let _ = rustix::mount::unmount(&exec, rustix::mount::UnmountFlags::DETACH);
    });
}

fn restarts_of_either_lose_no_container_and_no_exit(release: Release) {
    let mut docker = Docker::start(release);
    let until_told = "trap 'exit 6' TERM; while :; do sleep 0.1; done";
    for name in ["stays", "one", "two", "three"] {
        docker.background(name, &[], &["/bin/sh", "-c", until_told]);
    }
    let end = |docker: &Docker, name: &str| {
        let pid: i32 = docker.inspect(name, ".State.Pid").parse().unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
        pid
    };
    let gone =
        |pid: i32| until("end", || (!std::path::Path::new(&format!("/proc/{pid}")).exists()).then_some(()));

    // dockerd is away.
    let one = docker.inspect("one", ".State.Pid").parse().unwrap();
    docker.stop();
    kill_process(Pid::from_raw(one).unwrap(), Signal::TERM).unwrap();
    gone(one);
    docker.launch();
    docker.becomes("one", ".State.Running", "false");
    assert_eq!(docker.inspect("one", ".State.ExitCode"), "6");

    // We are, and nobody asks for what happened meanwhile: dockerd only listens.
    let two = docker.inspect("two", ".State.Pid").parse().unwrap();
    docker.host.daemon.kill();
    kill_process(Pid::from_raw(two).unwrap(), Signal::TERM).unwrap();
    gone(two);
    docker.host.daemon.start_again();
    docker.becomes("two", ".State.Running", "false");
    assert_eq!(docker.inspect("two", ".State.ExitCode"), "6");

    // And told to stop, as an upgrade does it.
    let three = docker.inspect("three", ".State.Pid").parse().unwrap();
    assert!(docker.host.daemon.stop().success());
    kill_process(Pid::from_raw(three).unwrap(), Signal::TERM).unwrap();
    gone(three);
    docker.host.daemon.start_again();
    docker.becomes("three", ".State.Running", "false");
    assert_eq!(docker.inspect("three", ".State.ExitCode"), "6");

    assert_eq!(docker.inspect("stays", ".State.Status"), "running");
    assert_eq!(docker.good(&["exec", "stays", "/bin/echo", "on"]), "on\n");
    let stays = end(&docker, "stays");
    docker.becomes("stays", ".State.ExitCode", "6");
    gone(stays);
    docker.good(&["rm", "one", "two", "three", "stays"]);
    docker.close();
}
