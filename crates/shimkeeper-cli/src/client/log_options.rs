// SPDX-License-Identifier: Apache-2.0
//! `--log-driver` and `--log-opt`: what becomes of a detached container's output.

use std::path::{Path, PathBuf};

use clap::Args;
use shimkeeper_core::Kind;

use crate::failure::Failure;
use crate::kept::Settings;
use crate::private_dirs::unique_name;
use crate::run::units::parse_size;

/// Largest file, and how many, unless told otherwise.
const SIZE: u64 = 10 << 20;
const FILES: u32 = 5;

/// Smaller files would hold less than one entry.
const SMALLEST: u64 = 64 << 10;

#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// What becomes of the output of a detached container: keep, none, or the URI of a log as shims know them, such as
    /// file:///var/log/web
    #[arg(
        long = "log-driver",
        value_name = "DRIVER",
        requires = "detach",
        default_value = "keep",
        value_parser = parse_log_driver
    )]
    driver: LogDriver,
    /// How much is kept: max-size=10m for each file, max-file=5 of them
    #[arg(long = "log-opt", value_name = "KEY=VALUE", requires = "detach", value_parser = parse_log_option)]
    options: Vec<LogOption>,
    /// Where it is kept, in a directory of its own
    #[arg(
        long = "log-dir",
        value_name = "DIR",
        env = "SHIMKEEPER_LOG_DIR",
        default_value = "/var/log/shimkeeper"
    )]
    dir: PathBuf,
}

/// What becomes of the output.
#[derive(Clone, Debug, PartialEq, Eq)]
enum LogDriver {
    /// Our own driver keeps it.
    Keep,
    /// It is thrown away.
    None,
    /// The shim is told this.
    Uri(String),
}

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LogOption {
    Size(u64),
    Files(u32),
}

fn parse_log_driver(text: &str) -> Result<LogDriver, String> {
    match text {
        "keep" => Ok(LogDriver::Keep),
        "none" => Ok(LogDriver::None),
        uri if uri.starts_with("file:///") || uri.starts_with("binary:///") => {
            Ok(LogDriver::Uri(uri.to_owned()))
        }
        _ => Err(format!("{text:?} is no log driver: expected keep, none, file:///PATH or binary:///PATH")),
    }
}

fn parse_log_option(text: &str) -> Result<LogOption, String> {
    match text.split_once('=') {
        Some(("max-size", size)) => match parse_size(size)? {
            size @ SMALLEST.. => Ok(LogOption::Size(size)),
            _ => Err(format!("max-size is at least {}k", SMALLEST >> 10)),
        },
        Some(("max-file", files)) => match files.parse() {
            Ok(files @ 1..) => Ok(LogOption::Files(files)),
            _ => Err(format!("{files:?} is no number of files")),
        },
        _ => Err(format!("{text:?} is no option of a log: expected max-size=10m or max-file=5")),
    }
}

/// What the shim is told of the container's output, and where it is kept; empty and nowhere for one that is thrown away.
pub(super) fn output(
    args: &LogArgs,
    namespace: &str,
    id: &str,
) -> Result<(String, Option<Settings>), Failure> {
    match &args.driver {
        LogDriver::None => Ok((String::new(), None)),
        LogDriver::Uri(uri) => Ok((uri.clone(), None)),
        LogDriver::Keep => {
            let base = std::path::absolute(&args.dir).map_err(|error| {
                Failure::io("find the directory of logs", &error, "give one with --log-dir that is not empty")
            })?;
            // Not by the id alone: what an earlier container of this id has left is not this one's.
            let dir = base.join(namespace).join(unique_name(&format!("{id}-")));
            let mut settings = Settings { dir, size: SIZE, files: FILES };
            for option in &args.options {
                match *option {
                    LogOption::Size(size) => settings.size = size,
                    LogOption::Files(files) => settings.files = files,
                }
            }
            let program = program()?;
            let uri = settings.to_uri(&program).ok_or_else(|| {
                let what = format!("keep logs in {}: not valid UTF-8", settings.dir.display());
                Failure::new(Kind::InvalidArgument, what, "choose another directory with --log-dir")
            })?;
            Ok((uri, Some(settings)))
        }
    }
}

/// This very command, which the shim is to start as the driver.
fn program() -> Result<PathBuf, Failure> {
    let what = "find this command's own file, which is to keep the output";
    let hint = "start it once more; it may just have been replaced by a new version";
    let program = std::env::current_exe().map_err(|error| Failure::io(what, &error, hint))?;
    if Path::new(&program).exists() {
        return Ok(program);
    }
    Err(Failure::new(Kind::NotFound, format!("{what}: {} is gone", program.display()), hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_and_options_are_those_that_exist() {
        assert_eq!(parse_log_driver("keep"), Ok(LogDriver::Keep));
        assert_eq!(parse_log_driver("file:///a/b"), Ok(LogDriver::Uri("file:///a/b".to_owned())));
        for wrong in ["", "json-file", "file://relative", "/a/b", "binary://x"] {
            assert!(parse_log_driver(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_log_option("max-size=1m"), Ok(LogOption::Size(1 << 20)));
        assert_eq!(parse_log_option("max-file=3"), Ok(LogOption::Files(3)));
        for wrong in
            ["", "max-size", "max-size=1k", "max-size=x", "max-file=0", "max-file=-1", "compress=true"]
        {
            assert!(parse_log_option(wrong).is_err(), "{wrong}");
        }
    }
}
