// SPDX-License-Identifier: Apache-2.0
//! What a fake process does, read from the arguments it would be run with.

use std::time::Duration;

/// What a process of a fake container does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// Runs until it is killed. Also what stands for any command the fake does not know.
    Sleep,
    /// As `Sleep`, but only SIGKILL ends it: the init of a PID namespace ignores what it does not handle.
    Stubborn,
    /// Ends with a status after a time.
    Exit { after: Duration, status: u32 },
    /// Writes a line to standard output and ends.
    Echo(String),
    /// Copies standard input to standard output until that ends.
    Cat,
    /// Names a command that does not exist.
    Missing,
}

impl Behaviour {
    /// `exit N`, `exit-after-ms MS N`, `echo TEXT…`, `cat`, `stubborn`, `missing`; anything else sleeps.
    pub(crate) fn parse<S: AsRef<str>>(args: &[S]) -> Self {
        let args: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
        let number = |at: usize| args.get(at).and_then(|arg| arg.parse::<u32>().ok()).unwrap_or(0);
        match args.first().copied() {
            Some("exit") => Self::Exit { after: Duration::ZERO, status: number(1) },
            Some("exit-after-ms") => {
                Self::Exit { after: Duration::from_millis(number(1).into()), status: number(2) }
            }
            Some("echo") => Self::Echo(args[1..].join(" ")),
            Some("cat") => Self::Cat,
            Some("stubborn") => Self::Stubborn,
            Some("missing") => Self::Missing,
            _ => Self::Sleep,
        }
    }

    /// The arguments that [`Behaviour::parse`] reads back.
    pub(crate) fn to_args(&self) -> Vec<String> {
        match self {
            Self::Sleep => vec!["sleep".into()],
            Self::Stubborn => vec!["stubborn".into()],
            Self::Exit { after, status } => {
                vec!["exit-after-ms".into(), after.as_millis().to_string(), status.to_string()]
            }
            Self::Echo(text) => vec!["echo".into(), text.clone()],
            Self::Cat => vec!["cat".into()],
            Self::Missing => vec!["missing".into()],
        }
    }

    /// The behaviour of the container whose `config.json` this is; of a process spec, if `process` is false.
    pub(crate) fn of_spec(json: &[u8], is_process: bool) -> Self {
        let spec: serde_json::Value = serde_json::from_slice(json).unwrap_or_default();
        let process = if is_process { Some(&spec) } else { spec.get("process") };
        let args = process.and_then(|process| process.get("args")).and_then(|args| args.as_array());
        let args: Vec<&str> = args.into_iter().flatten().filter_map(|arg| arg.as_str()).collect();
        Self::parse(&args)
    }

    /// Whether a signal ends such a process.
    pub(crate) fn dies_of(&self, signal: i32) -> bool {
        const KILL: i32 = 9;
        // SIGCHLD, SIGCONT, the stop signals, SIGURG, SIGWINCH: nobody dies of these.
        const HARMLESS: [i32; 9] = [0, 17, 18, 19, 20, 21, 22, 23, 28];
        match self {
            Self::Stubborn => signal == KILL,
            _ => !HARMLESS.contains(&signal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behaviours_read_back_from_their_arguments() {
        for args in
            [&["sleep"][..], &["exit", "7"], &["exit-after-ms", "50", "3"], &["echo", "a", "b"], &["cat"]]
        {
            let behaviour = Behaviour::parse(args);
            assert_eq!(Behaviour::parse(&behaviour.to_args()), behaviour);
        }
        assert_eq!(Behaviour::parse(&["/bin/sh", "-c", "true"]), Behaviour::Sleep);
        assert_eq!(Behaviour::parse::<&str>(&[]), Behaviour::Sleep);
    }

    #[test]
    fn the_spec_says_what_a_container_does() {
        let spec = br#"{"process":{"args":["exit","7"]}}"#;
        let exit = Behaviour::Exit { after: Duration::ZERO, status: 7 };
        assert_eq!(Behaviour::of_spec(spec, false), exit);
        assert_eq!(Behaviour::of_spec(br#"{"args":["exit","7"]}"#, true), exit);
        assert_eq!(Behaviour::of_spec(b"{", false), Behaviour::Sleep);
    }
}
