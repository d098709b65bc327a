// SPDX-License-Identifier: Apache-2.0
//! The process of an exec: the container's own, with what the command line says in place of its counterparts.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use shimkeeper::oci;
use shimkeeper_core::Kind;

use crate::client::args::process::ExecArgs;
use crate::failure::Failure;
use crate::foreground::terminal::Size;
use crate::run::environment;

/// The process for the container of this specification, whose first process has this id on the host.
pub(super) fn process(
    spec: &[u8],
    pid: Option<u32>,
    args: &ExecArgs,
    size: Option<Size>,
) -> Result<Value, Failure> {
    let spec: Value = serde_json::from_slice(spec).unwrap_or_default();
    let mut process = spec["process"].clone();
    let Some(fields) = process.as_object_mut() else {
        let what = "exec: the container's record has no process that could be gone by";
        return Err(Failure::new(
            Kind::FailedPrecondition,
            what,
            "`shimkeeper inspect -o json` shows the record",
        ));
    };
    fields.insert("args".to_owned(), json!(args.command));
    fields.insert("terminal".to_owned(), json!(args.tty));
    fields.remove("consoleSize");
    if let Some(Size { rows, columns }) = size.filter(|_| args.tty) {
        fields.insert("consoleSize".to_owned(), json!({"height": rows, "width": columns}));
    }
    let own = |key: &str| std::env::var_os(key);
    let more = environment::variables(&args.env_file, &args.env, &own)?;
    let env = fields.entry("env").or_insert_with(|| json!([]));
    if let Some(env) = env.as_array_mut() {
        // Of one that is there twice, programs do not agree which counts.
        let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
        let names: Vec<String> = more.iter().map(|variable| name(variable)).collect();
        env.retain(|variable| !names.contains(&name(variable.as_str().unwrap_or_default())));
        env.extend(more.into_iter().map(Value::String));
    }
    if let Some(dir) = &args.workdir {
        fields.insert("cwd".to_owned(), json!(dir));
    }
    if let Some(user) = &args.user {
        fields.insert("user".to_owned(), identity(&spec, pid, user)?);
        // Rights that the container's user has without being root are not another user's.
        if let Some(capabilities) = fields.get_mut("capabilities").and_then(Value::as_object_mut) {
            capabilities.remove("ambient");
        }
    }
    let json = serde_json::to_vec(&process).expect("a JSON value can be written");
    oci::check_process(&json).map_err(|error| Failure::of(&error, Some(error.hint())))?;
    Ok(process)
}

/// By the container's own files: where the record says they are, or where its first process sees them.
fn identity(spec: &Value, pid: Option<u32>, user: &str) -> Result<Value, Failure> {
    let recorded = spec["root"]["path"].as_str().map(PathBuf::from);
    let recorded = recorded.filter(|path| path.is_absolute() && path.exists());
    let seen = || pid.map(|pid| Path::new("/proc").join(pid.to_string()).join("root/."));
    let rootfs = recorded.or_else(seen).unwrap_or_default();
    let found = oci::find_user(&rootfs, user).map_err(|error| {
        Failure::of(
            &error,
            Some("give numbers, or names that the container's /etc/passwd and /etc/group have"),
        )
    })?;
    Ok(json!({"uid": found.uid, "gid": found.gid, "additionalGids": found.additional_gids}))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};
    use crate::client::args::ClientCommand;

    fn made(spec: &Value, words: &[&str]) -> Result<Value, Failure> {
        let words = [&["shimkeeper", "exec"], words].concat();
        let Command::Client(ClientCommand::Exec(args)) = Cli::try_parse_from(words).unwrap().command else {
            unreachable!("the word is exec")
        };
        process(&serde_json::to_vec(spec).unwrap(), None, &args, Some(Size { rows: 24, columns: 80 }))
    }

    fn container(rootfs: &Path) -> Value {
        json!({
            "root": {"path": rootfs},
            "process": {
                "args": ["httpd"], "cwd": "/srv", "terminal": true, "consoleSize": {"height": 1, "width": 1},
                "user": {"uid": 0, "gid": 0}, "env": ["PATH=/bin", "A=1"],
                "capabilities": {"bounding": ["CAP_CHOWN"], "ambient": ["CAP_CHOWN"]}, "noNewPrivileges": true,
            },
        })
    }

    #[test]
    fn what_is_not_said_is_the_containers() {
        let made = made(&container(Path::new("/r")), &["web", "ps", "-ef"]).unwrap();
        assert_eq!(
            (&made["args"], &made["cwd"], &made["terminal"]),
            (&json!(["ps", "-ef"]), &json!("/srv"), &json!(false))
        );
        assert_eq!((&made["env"], &made["noNewPrivileges"]), (&json!(["PATH=/bin", "A=1"]), &json!(true)));
        assert!(made.get("consoleSize").is_none() && made["capabilities"]["ambient"].is_array());
    }

    #[test]
    fn what_is_said_replaces_it() {
        let rootfs = tempfile::tempdir().unwrap();
        std::fs::create_dir(rootfs.path().join("etc")).unwrap();
        std::fs::write(rootfs.path().join("etc/passwd"), "app:x:1001:1002::/:/bin/sh\n").unwrap();
        let spec = container(rootfs.path());
        let words = ["-t", "-e", "A=2", "-e", "B=3", "-w", "/tmp", "-u", "app", "web", "sh"];
        let process = made(&spec, &words).unwrap();
        assert_eq!(process["env"], json!(["PATH=/bin", "A=2", "B=3"]));
        assert_eq!((&process["cwd"], &process["consoleSize"]["width"]), (&json!("/tmp"), &json!(80)));
        assert_eq!(process["user"], json!({"uid": 1001, "gid": 1002, "additionalGids": [1002]}));
        assert!(process["capabilities"].get("ambient").is_none());
        let failure = made(&spec, &["-u", "nobody", "web", "sh"]).unwrap_err();
        assert!(failure.what.contains("nobody") && failure.kind == Kind::InvalidArgument, "{failure:?}");
        assert!(made(&spec, &["-w", "relative", "web", "sh"]).is_err());
        assert!(made(&json!({}), &["web", "sh"]).is_err());
    }
}
