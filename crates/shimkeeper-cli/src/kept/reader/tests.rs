// SPDX-License-Identifier: Apache-2.0
//! A reader beside a writer that goes on, changes files, removes them, and runs out of room.

use std::time::SystemTime;

use super::*;
use crate::kept::writer::Writer;
use crate::kept::{Settings, Stream, is_written};

struct Kept {
    dir: tempfile::TempDir,
    writer: Writer,
}

impl Kept {
    fn new(size: u64, files: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let writer = Writer::open(settings(&dir, size, files)).unwrap();
        Self { dir, writer }
    }

    fn write(&mut self, text: &str) {
        self.writer.keep(SystemTime::UNIX_EPOCH, Stream::Out, text.as_bytes());
    }

    fn reader(&self, begin: Begin) -> Reader {
        Reader::open(&settings(&self.dir, 1, 1).dir, begin).unwrap()
    }
}

fn settings(dir: &tempfile::TempDir, size: u64, files: u32) -> Settings {
    Settings { dir: dir.path().join("a/b"), size, files }
}

/// All that can be read now; `<gap>` where something is missing.
fn text(reader: &mut Reader) -> String {
    let mut text = String::new();
    loop {
        let items = reader.more().unwrap();
        if items.is_empty() {
            return text;
        }
        for item in items {
            match item {
                Item::Entry(entry) => text += &String::from_utf8(entry.bytes()).unwrap(),
                Item::Gap => text += "<gap>",
            }
        }
    }
}

#[test]
fn a_reader_goes_on_where_it_was_over_many_files() {
    let mut kept = Kept::new(100, 1000);
    let mut reader = kept.reader(Begin::Start);
    let empty = tempfile::tempdir().unwrap();
    let mut patient = Reader::open(empty.path(), Begin::Last(5)).unwrap();
    assert_eq!([text(&mut reader), text(&mut patient)], ["", ""]);
    std::fs::write(file(empty.path(), 1), "1970-01-01T00:00:00Z stdout F at last\n").unwrap();
    assert_eq!(text(&mut patient), "at last\n");
    let mut expected = String::new();
    for number in 0..50 {
        let line = format!("line {number}\npart of ");
        kept.write(&line);
        expected += &line;
        if number % 7 == 0 {
            assert_eq!(text(&mut reader), std::mem::take(&mut expected));
        }
    }
    assert_eq!(text(&mut reader), expected);
    assert!(numbers(&reader.dir).unwrap().len() > 10);
}

#[test]
fn the_first_files_go_and_whoever_had_not_read_them_is_told() {
    let mut kept = Kept::new(100, 3);
    kept.write("first\n");
    let (mut slow, mut early) = (kept.reader(Begin::Start), kept.reader(Begin::Start));
    assert_eq!(text(&mut early), "first\n");
    for number in 0..20 {
        kept.write(&format!("a line that is long enough, {number}\n"));
    }
    assert_eq!(numbers(&slow.dir).unwrap().len(), 3);
    let told = text(&mut slow);
    assert!(told.starts_with("first\n<gap>a line") && told.ends_with(", 19\n"), "{told}");
    assert_eq!(told.matches("<gap>").count(), 1);
    assert_eq!(text(&mut kept.reader(Begin::Start)).matches("<gap>").count(), 0);
}

#[test]
fn a_file_begins_with_a_line() {
    let mut kept = Kept::new(200, 1000);
    for number in 0..40 {
        kept.write(&format!("{number} and "));
        kept.write("the rest of the line\nnext");
        kept.write(" line\n");
    }
    let dir = settings(&kept.dir, 1, 1).dir;
    let files = numbers(&dir).unwrap();
    assert!(files.len() > 10, "{files:?}");
    for number in files {
        let text = std::fs::read_to_string(file(&dir, number)).unwrap();
        let (first, last) = (text.lines().next().unwrap(), text.lines().last().unwrap());
        assert!(first.ends_with(" and ") || first.ends_with("next"), "{text}");
        assert!(last.contains(" F ") && text.len() <= 400, "{text}");
    }
    // What never ends a line changes files all the same.
    let mut kept = Kept::new(200, 1000);
    (0..20).for_each(|_| kept.write("........................................"));
    assert!(numbers(&settings(&kept.dir, 1, 1).dir).unwrap().len() > 3);
}

#[test]
fn the_last_lines_are_found_over_files_and_parts() {
    let mut kept = Kept::new(100, 1000);
    for number in 0..20 {
        kept.write(&format!("{number} is "));
        kept.write("a number\n");
    }
    let last = |kept: &Kept, lines| text(&mut kept.reader(Begin::Last(lines)));
    assert_eq!(last(&kept, 0), "");
    assert_eq!(last(&kept, 1), "19 is a number\n");
    assert_eq!(last(&kept, 3), "17 is a number\n18 is a number\n19 is a number\n");
    assert_eq!(last(&kept, 20), last(&kept, 1000));
    assert!(last(&kept, 20).starts_with("0 is a number\n1 is "));
    kept.write("a prompt> ");
    assert_eq!(last(&kept, 1), "a prompt> ");
    assert_eq!(last(&kept, 2), "19 is a number\na prompt> ");
}

#[test]
fn the_next_driver_begins_a_new_file_and_waits_for_the_last_one_to_end() {
    let mut kept = Kept::new(1000, 5);
    kept.write("first life\n");
    let dir = settings(&kept.dir, 1000, 5).dir;
    assert!(is_written(&dir));
    let waiting = {
        let settings = settings(&kept.dir, 1000, 5);
        std::thread::spawn(move || Writer::open(settings).unwrap())
    };
    let Kept { dir: _dir, writer } = kept;
    drop(writer);
    let mut second = waiting.join().unwrap();
    second.keep(SystemTime::now(), Stream::Err, b"second life\n");
    assert_eq!(numbers(&dir).unwrap(), [1, 2]);
    assert_eq!(text(&mut Reader::open(&dir, Begin::Start).unwrap()), "first life\nsecond life\n");
    drop(second);
    assert!(!is_written(&dir));
}

#[test]
fn what_finds_no_room_is_told_once_there_is_some() {
    let mut kept = Kept::new(60, 5);
    kept.write("before\n");
    // No file can be made there any more, because the next one's name is taken by a directory.
    let blocked = file(&settings(&kept.dir, 1, 1).dir, 2);
    std::fs::create_dir(&blocked).unwrap();
    kept.write("twelve bytes");
    kept.write("eight by");
    std::fs::remove_dir(&blocked).unwrap();
    kept.write("after\n");
    assert_eq!(text(&mut kept.reader(Begin::Start)), "before\n20 bytes\nafter\n");
}

#[test]
fn a_plain_file_is_read_from_any_line_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let last = |text: &str, lines| {
        std::fs::write(&path, text).unwrap();
        String::from_utf8(Plain::open(&path, Begin::Last(lines)).unwrap().more().unwrap()).unwrap()
    };
    assert_eq!([last("a\nb\nc\n", 0), last("a\nb\nc\n", 1), last("a\nb\nc\n", 2)], ["", "c\n", "b\nc\n"]);
    assert_eq!(
        [last("a\nb\nc\n", 3), last("a\nb\nc\n", 9), last("a\nb", 1)],
        ["a\nb\nc\n", "a\nb\nc\n", "b"]
    );
    assert_eq!([last("", 3), last("\n\n", 1)], ["", "\n"]);
    let long = format!("{}\nend\n", "x".repeat(CHUNK_BYTES));
    assert_eq!(last(&long, 1), "end\n");
}
