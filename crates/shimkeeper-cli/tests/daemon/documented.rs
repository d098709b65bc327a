// SPDX-License-Identifier: Apache-2.0
//! `docs/output.md` beside what the commands tell: whatever a test gets to see has the fields that are documented.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

/// Objects whose fields are not ours to name.
const FREE: [&str; 5] = ["labels", "spec", "event", "shims", "phases_ms"];

/// The documented example of each schema.
fn examples() -> BTreeMap<String, Value> {
    let text = std::fs::read_to_string(root().join("docs/output.md")).unwrap();
    let lines = text.lines().filter(|line| line.starts_with("{\"schema\""));
    let examples =
        lines.map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|e| panic!("{e}: {line}")));
    examples.map(|example| (example["schema"].as_str().unwrap().to_owned(), example)).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().parent().unwrap()
}

/// That this object is as it is documented.
pub(crate) fn is_documented(told: &Value) {
    let schema = told["schema"].as_str().unwrap_or_else(|| panic!("no schema: {told}"));
    let examples = examples();
    let example = examples.get(schema).unwrap_or_else(|| panic!("{schema} is not documented"));
    compare(schema, told, example);
}

fn compare(place: &str, told: &Value, example: &Value) {
    match (told, example) {
        // What is not known.
        (Value::Null, _) | (_, Value::Null) => {}
        (Value::Object(told), Value::Object(example)) => {
            let names =
                |object: &serde_json::Map<String, Value>| object.keys().cloned().collect::<BTreeSet<_>>();
            assert_eq!(names(told), names(example), "{place}");
            for (name, told) in told.iter().filter(|(name, _)| !FREE.contains(&name.as_str())) {
                compare(&format!("{place}.{name}"), told, &example[name]);
            }
        }
        (Value::Array(told), Value::Array(example)) => {
            for told in told {
                compare(place, told, &example[0]);
            }
        }
        _ => {
            let same = std::mem::discriminant(told) == std::mem::discriminant(example);
            assert!(same, "{place}: {told} is documented as {example}");
        }
    }
}

/// Every schema that the sources name, wherever they do.
fn named(dir: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            named(&path, found);
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for rest in text.split("\"shimkeeper.").skip(1) {
            let word = rest.split('"').next().unwrap();
            let is_schema = word.rsplit_once('/').is_some_and(|(_, number)| number.parse::<u32>().is_ok());
            found.extend(is_schema.then(|| format!("shimkeeper.{word}")));
        }
    }
}

#[test]
fn every_schema_is_documented_and_no_other() {
    let mut found = BTreeSet::new();
    named(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    // One of a unit test.
    found.remove("shimkeeper.test/1");
    assert_eq!(found, examples().into_keys().collect());
}
