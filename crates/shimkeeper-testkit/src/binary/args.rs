// SPDX-License-Identifier: Apache-2.0
//! The command line, as Go's flag package reads it: one or two dashes, a value after `=` or as the next argument.

use std::path::PathBuf;

use super::Failed;

/// What the executable is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Start,
    Delete,
    /// The server, started by `start`.
    Serve,
    Info,
}

/// The command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Args {
    pub(super) action: Action,
    pub(super) namespace: String,
    pub(super) id: String,
    pub(super) address: String,
    pub(super) publish_binary: String,
    pub(super) bundle: Option<PathBuf>,
    /// Where the server listens; only `start` passes it.
    pub(super) socket: PathBuf,
}

impl Args {
    pub(super) fn parse(raw: &[String]) -> Result<Self, Failed> {
        let mut args = Self {
            action: Action::Info,
            namespace: String::new(),
            id: String::new(),
            address: String::new(),
            publish_binary: String::new(),
            bundle: None,
            socket: PathBuf::new(),
        };
        let mut raw = raw.iter();
        while let Some(arg) = raw.next() {
            let Some(flag) = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')) else {
                args.action = action(arg)?;
                break;
            };
            let (flag, inline) =
                flag.split_once('=').map_or((flag, None), |(flag, value)| (flag, Some(value)));
            match flag {
                "debug" => continue,
                "info" => return Ok(args),
                _ => {}
            }
            let value = inline.or_else(|| raw.next().map(String::as_str));
            let value = value.ok_or_else(|| format!("flag needs an argument: -{flag}"))?.to_owned();
            match flag {
                "namespace" => args.namespace = value,
                "id" => args.id = value,
                "address" => args.address = value,
                "publish-binary" => args.publish_binary = value,
                "bundle" => args.bundle = Some(value.into()),
                "socket" => args.socket = value.into(),
                _ => return Err(format!("flag provided but not defined: -{flag}")),
            }
        }
        args.check()
    }

    /// A shim refuses to work for nobody.
    fn check(self) -> Result<Self, Failed> {
        if self.namespace.is_empty() {
            return Err("shim namespace cannot be empty".into());
        }
        if self.id.is_empty() {
            return Err("shim id cannot be empty".into());
        }
        if self.action == Action::Info {
            return Err("an action is required: start or delete".into());
        }
        Ok(self)
    }
}

fn action(word: &str) -> Result<Action, Failed> {
    match word {
        "start" => Ok(Action::Start),
        "delete" => Ok(Action::Delete),
        "serve" => Ok(Action::Serve),
        _ => Err(format!("unknown action {word:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, Failed> {
        Args::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn reads_what_a_manager_writes() {
        let args =
            parse("-namespace ns -address /a -publish-binary /p -id x -bundle /b -debug delete").unwrap();
        assert_eq!((args.action, args.namespace.as_str(), args.id.as_str()), (Action::Delete, "ns", "x"));
        assert_eq!(args.bundle, Some("/b".into()));
        assert_eq!(parse("--namespace=ns --id=x start").unwrap().action, Action::Start);
        assert_eq!(parse("-info").unwrap().action, Action::Info);
    }

    #[test]
    fn refuses_what_go_refuses() {
        for line in ["-id x start", "-namespace n start", "-namespace n -id x", "-nope 1 start", "-namespace"]
        {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
