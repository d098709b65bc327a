// SPDX-License-Identifier: Apache-2.0
//! How answers are told: as tables, or as one JSON object that names its schema.
//!
//! Fields are only ever added to; a schema's number changes when one is changed or taken away.

use std::io::Write as _;

use serde::Serialize;
use shimkeeper_core::time;
use shimkeeper_proto::google::protobuf::Timestamp;

use crate::failure::Failure;
use crate::stdout;

/// An object with its schema first.
#[derive(Debug, Serialize)]
struct Named<'a, T> {
    schema: &'static str,
    #[serde(flatten)]
    what: &'a T,
}

/// A failure, as `shimkeeper run` tells it.
#[derive(Debug, Serialize)]
pub(super) struct ErrorReport {
    kind: &'static str,
    message: String,
    hint: Option<String>,
}

impl From<&Failure> for ErrorReport {
    fn from(failure: &Failure) -> Self {
        let Failure { kind, what, hint, .. } = failure;
        Self { kind: kind.as_str(), message: what.clone(), hint: hint.clone() }
    }
}

/// The object on one line.
pub(super) fn json(schema: &'static str, what: &impl Serialize) -> String {
    serde_json::to_string(&Named { schema, what }).expect("an answer has only plain fields") + "\n"
}

/// Columns as wide as they must be; the first row is the heading.
pub(super) fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let widths: [usize; N] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{:width$}", plain(cell)));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// What clients and shims wrote may hold anything; a terminal gets plain text.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Labels in one cell.
pub(super) fn labels<'a>(labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> String {
    labels.into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// Bytes, in the unit that is short to read.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    // In tenths of the next unit; nothing is shown to more than that.
    let mut tenths = u128::from(bytes) * 10 / 1024;
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    for unit in UNITS {
        if tenths < 10_240 {
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
        tenths /= 1024;
    }
    format!("{}.{} EiB", tenths / 10, tenths % 10)
}

/// A moment, if it is one.
pub(super) fn at(stamp: Option<&Timestamp>) -> Option<String> {
    let stamp = stamp?;
    time::from_parts(stamp.seconds, stamp.nanos).map(time::to_rfc3339)
}

/// Writes to standard output; whether somebody is left to read it.
pub(super) fn write(text: &str) -> Result<bool, Failure> {
    write_bytes(text.as_bytes())
}

/// The same for what may be no text.
pub(super) fn write_bytes(bytes: &[u8]) -> Result<bool, Failure> {
    stdout::write(bytes)
}

/// Writes to standard error; whether somebody is left to read it.
pub(super) fn write_error(text: &str) -> bool {
    write_error_bytes(text.as_bytes())
}

/// The same for what may be no text.
pub(super) fn write_error_bytes(bytes: &[u8]) -> bool {
    std::io::stderr().write_all(bytes).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned_and_harmless() {
        let rows = [["ID", "STATUS"], ["a-long-one", "run\x1b[31m"]].map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows), "ID          STATUS\na-long-one  run\u{fffd}[31m\n");
    }

    #[test]
    fn sizes_are_short() {
        let told = [0, 1023, 1024, 1536, 10 << 20, (10 << 30) - 1, 3 << 40, u64::MAX].map(size);
        assert_eq!(
            told,
            ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "10.0 MiB", "9.9 GiB", "3.0 TiB", "15.9 EiB"]
        );
    }

    #[test]
    fn an_object_names_its_schema_first() {
        #[derive(Serialize)]
        struct One {
            id: u32,
        }
        assert_eq!(
            json("shimkeeper.test/1", &One { id: 1 }),
            "{\"schema\":\"shimkeeper.test/1\",\"id\":1}\n"
        );
    }
}
