// SPDX-License-Identifier: Apache-2.0
//! `--env` and `--env-file`: variables for the container, some of them passed on from our own environment.

use std::path::{Path, PathBuf};

use shimkeeper_core::Kind;

use crate::failure::Failure;

/// Where the value of a variable that is only named comes from.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<std::ffi::OsString>;

/// Every variable as `KEY=VALUE`, in the order in which later ones win: the files first, then the flags.
pub(crate) fn variables(
    files: &[PathBuf],
    flags: &[String],
    own: Lookup<'_>,
) -> Result<Vec<String>, Failure> {
    let mut variables = Vec::new();
    for path in files {
        let what = format!("read the environment file {}", path.display());
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::io(&what, &error, "check the path given with --env-file"))?;
        read_file(path, &text, own, &mut variables)?;
    }
    for flag in flags {
        variables.extend(variable(flag, own).map_err(|what| {
            Failure::new(Kind::InvalidArgument, what, "write --env KEY=VALUE, or --env KEY to pass KEY on")
        })?);
    }
    Ok(variables)
}

/// As docker reads it: one variable on a line, taken literally; `#` begins a comment line.
fn read_file(path: &Path, text: &str, own: Lookup<'_>, variables: &mut Vec<String>) -> Result<(), Failure> {
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        variables.extend(variable(line, own).map_err(|what| {
            let what = format!("{}, line {}: {what}", path.display(), index + 1);
            Failure::new(Kind::InvalidArgument, what, "write one KEY=VALUE on a line")
        })?);
    }
    Ok(())
}

/// A name alone stands for our own variable of that name, and for nothing when we have none.
fn variable(text: &str, own: Lookup<'_>) -> Result<Option<String>, String> {
    let key = text.split_once('=').map_or(text, |(key, _)| key);
    if key.is_empty() || key.contains(char::is_whitespace) {
        return Err(format!("{key:?} is not the name of a variable"));
    }
    if text.contains('=') {
        return Ok(Some(text.to_owned()));
    }
    let Some(value) = own(key) else { return Ok(None) };
    let value = value.into_string().map_err(|_| format!("the value of {key} is not valid UTF-8"))?;
    Ok(Some(format!("{key}={value}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    fn own(key: &str) -> Option<OsString> {
        match key {
            "HOME" => Some("/home/me".into()),
            "EMPTY" => Some("".into()),
            "BINARY" => Some(OsString::from_vec(vec![0xff])),
            _ => None,
        }
    }

    fn flags(flags: &[&str]) -> Result<Vec<String>, Failure> {
        let flags: Vec<String> = flags.iter().map(ToString::to_string).collect();
        variables(&[], &flags, &own)
    }

    #[test]
    fn values_are_given_or_passed_on() {
        let variables = flags(&["A=1", "B=", "C=x=y", "HOME", "EMPTY", "UNSET"]).unwrap();
        assert_eq!(variables, ["A=1", "B=", "C=x=y", "HOME=/home/me", "EMPTY="]);
        for bad in ["", "=x", "a b=1", "BINARY"] {
            assert!(flags(&[bad]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_file_has_one_on_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("env");
        std::fs::write(&path, "# comment\n\nA=1 # kept\n  B=\"quoted\"\nHOME\nUNSET\n").unwrap();
        let found = variables(std::slice::from_ref(&path), &["A=2".to_owned()], &own).unwrap();
        assert_eq!(found, ["A=1 # kept", "B=\"quoted\"", "HOME=/home/me", "A=2"]);

        std::fs::write(&path, "A=1\n=2\n").unwrap();
        let failure = variables(&[path], &[], &own).unwrap_err();
        assert!(failure.what.contains("env, line 2"), "{}", failure.what);
    }
}
