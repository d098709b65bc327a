// SPDX-License-Identifier: Apache-2.0
//! What a file may say, what it may not, and who overrules it.

use std::time::Duration;

use super::*;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::from_text(Path::new("/f.toml"), text)
}

/// What is said about a file that is refused, wherever that is found out.
fn refused(text: &str) -> String {
    let dir = tempfile::Builder::new().prefix("shimkeeper-").tempdir().unwrap();
    let file = dir.path().join("c.toml");
    std::fs::write(&file, text).unwrap();
    let error = Config::load(Some(&file), &Overrides::default()).unwrap_err();
    error.to_string().replace(file.to_str().unwrap(), "F")
}

#[test]
fn the_default_file_says_the_defaults() {
    assert_eq!(parse(Config::DEFAULT_TEXT).unwrap(), Config::default());
    assert_eq!(parse("").unwrap(), Config::default());
}

#[test]
fn what_is_dumped_reads_the_same() {
    let mut config = Config::default();
    config.grpc.gid = Some(7);
    config.timeouts.create = Duration::from_millis(1500);
    config.plugins.shims.env.push("A=b=c".to_owned());
    assert_eq!(parse(&config.to_text().unwrap()).unwrap(), config);
}

#[test]
fn keys_of_containerd_mean_the_same() {
    let text = r#"
version = 3
root = "/r"
oom_score = -999
[grpc]
address = "unix:///run/c.sock"
gid = 101
[debug]
level = "warning"
format = "json"
[timeouts]
"io.containerd.timeout.task.state" = "3s"
"io.containerd.timeout.shim.load" = "500ms"
[plugins."io.containerd.shim.v1.manager"]
env = ["A=1"]
"#;
    let mut config = parse(text).unwrap();
    config.plain_paths();
    assert_eq!((config.version, config.oom_score, config.grpc.gid), (Some(3), -999, Some(101)));
    assert_eq!(config.ttrpc_address(), Path::new("/run/c.sock.ttrpc"));
    assert_eq!(config.debug, Debug { level: Level::Warn, format: Format::Json });
    assert_eq!(config.timeouts.state, Duration::from_secs(3));
    assert_eq!(config.timeouts.deadlines().dial, Duration::from_millis(500));
    assert_eq!(config.plugins.shims.env, ["A=1"]);
}

#[test]
fn a_mistake_is_told_with_its_line() {
    let text = refused("root = \"/r\"\n\n[grpc]\nadress = \"/s\"\n");
    assert!(text.starts_with("F:4: unknown key `adress`, expected one of `address`"), "{text}");
    assert_eq!(
        refused("imports = []\n"),
        "F:1: key `imports` is containerd's, for what is not part of shimkeeper: remove it"
    );
    let text = refused("[plugins]\n[plugins.\"io.containerd.grpc.v1.cri\"]\nx = 1\n");
    assert!(text.starts_with("F:2: key `io.containerd.grpc.v1.cri` is containerd's"), "{text}");
    let text = refused("[timeouts]\nkill = \"soon\"\n");
    assert!(text.starts_with("F:2: \"soon\" is no duration"), "{text}");
    assert!(refused("root = \n").starts_with("F:1: "));
    assert!(refused("[limits]\nconnections = -1\n").starts_with("F:2: "));
}

#[test]
fn what_cannot_work_is_refused_by_its_key() {
    for (text, key) in [
        ("version = 5", "version"),
        ("root = \"r\"", "root"),
        ("root = \"/x\"\nstate = \"/x\"", "state"),
        ("oom_score = 1001", "oom_score"),
        ("[grpc]\naddress = \"\"", "grpc.address"),
        ("[grpc]\naddress = \"/s\"\n[ttrpc]\naddress = \"/s\"", "ttrpc.address"),
        ("[metrics]\naddress = \"9090\"", "metrics.address"),
        ("[tracing]\nendpoint = \"127.0.0.1:4317\"", "tracing.endpoint"),
        ("[limits]\nconnections = 0", "limits"),
        ("[timeouts]\nkill = \"0s\"", "timeouts"),
        ("[plugins.\"io.containerd.shim.v1.manager\"]\nenv = [\"=x\"]", "plugins."),
    ] {
        let said = refused(text);
        assert!(said.starts_with(key), "{said}");
    }
    // The socket of shims has a longer path than the one it is made from.
    let long = format!("[grpc]\naddress = \"/{}\"", "a".repeat(MAX_ADDRESS));
    assert!(refused(&long).starts_with("ttrpc.address"), "{}", refused(&long));
}

/// As long as a socket's path may be, without the slash at its beginning.
const MAX_ADDRESS: usize = 106;

#[test]
fn the_command_line_counts_more_than_the_file() {
    let dir = tempfile::Builder::new().prefix("shimkeeper-").tempdir().unwrap();
    let file = dir.path().join("c.toml");
    std::fs::write(&file, "root = \"/a\"\nstate = \"/b\"\n[debug]\nlevel = \"error\"\n").unwrap();
    let overrides =
        Overrides { root: Some("/c".into()), log_level: Some(Level::Trace), ..Overrides::default() };
    let config = Config::load(Some(&file), &overrides).unwrap();
    assert_eq!((config.root, config.state, config.debug.level), ("/c".into(), "/b".into(), Level::Trace));

    let missing = Config::load(Some(&dir.path().join("none")), &Overrides::default());
    assert!(matches!(missing, Err(ConfigError::Read { .. })), "one that was named must be there");
}

#[test]
fn a_runtime_may_differ_in_some_times() {
    let text = "[timeouts]\nkill = \"7s\"\n[timeouts.runtimes.\"io.containerd.kata.v2\"]\ncreate = \"5m\"\n";
    let config = parse(text).unwrap();
    let (runtime, deadlines) = config.timeouts.by_runtime().next().unwrap();
    assert_eq!(runtime, "io.containerd.kata.v2");
    assert_eq!((deadlines.create, deadlines.kill), (Duration::from_mins(5), Duration::from_secs(7)));
    assert_eq!(parse(&config.to_text().unwrap()).unwrap(), config);
    assert_eq!(Config::default().fixed_differences(&config), ["timeouts.runtimes"]);
    let wrong = refused("[timeouts.runtimes.x]\ncreat = \"5m\"\n");
    assert!(wrong.starts_with("F:2: unknown key `creat`"), "{wrong}");
    assert!(refused("[timeouts.runtimes.x]\nkill = \"0s\"\n").starts_with("timeouts: kill"));
}

#[test]
fn what_needs_a_restart_is_known() {
    let mut other = Config::default();
    other.limits.connections = 1;
    other.timeouts.kill = Duration::from_secs(1);
    other.debug.level = Level::Trace;
    assert!(Config::default().fixed_differences(&other).is_empty());
    other.grpc.gid = Some(1);
    other.debug.format = Format::Json;
    assert_eq!(Config::default().fixed_differences(&other), ["grpc", "debug.format"]);
}

#[test]
fn spans_without_the_feature_are_refused_with_what_to_do() {
    let text = "[tracing]\nendpoint = \"http://127.0.0.1:4317\"\n";
    let parsed = parse(text).unwrap().check();
    if cfg!(feature = "otel") {
        parsed.unwrap();
    } else {
        let said = parsed.unwrap_err().to_string();
        assert!(said.starts_with("tracing.endpoint") && said.contains("cargo feature `otel`"), "{said}");
    }
}
