// SPDX-License-Identifier: Apache-2.0
//! Against files put together by hand; those of real containerds are read by the tests of the import.

use super::*;

const SIZE: usize = 4096;

fn page(id: u64, flags: u16, count: u16, body: &[u8]) -> Vec<u8> {
    let mut page = id.to_le_bytes().to_vec();
    page.extend(flags.to_le_bytes());
    page.extend(count.to_le_bytes());
    page.extend(0_u32.to_le_bytes());
    page.extend(body);
    page.resize(SIZE, 0);
    page
}

fn meta(id: u64, root: u64, pages: u64, transaction: u64) -> Vec<u8> {
    let mut body = Vec::new();
    for word in [0xED0C_DAED_u32, 2, 4096, 0] {
        body.extend(word.to_le_bytes());
    }
    for word in [root, 0, u64::MAX, pages, transaction] {
        body.extend(word.to_le_bytes());
    }
    let sum = body.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    body.extend(sum.to_le_bytes());
    page(id, 4, 0, &body)
}

/// The elements of a leaf and, behind them, their keys and values.
fn leaf_body(entries: &[(u32, &[u8], &[u8])]) -> Vec<u8> {
    let (mut elements, mut data) = (Vec::new(), Vec::new());
    for (index, (flags, key, value)) in entries.iter().enumerate() {
        let at = (entries.len() - index) * 16 + data.len();
        for word in [*flags, u32::try_from(at).unwrap(), u32::try_from(key.len()).unwrap()] {
            elements.extend(word.to_le_bytes());
        }
        elements.extend(u32::try_from(value.len()).unwrap().to_le_bytes());
        data.extend_from_slice(key);
        data.extend_from_slice(value);
    }
    [elements, data].concat()
}

fn branch_body(children: &[u64]) -> Vec<u8> {
    children.iter().flat_map(|child| [&[0; 8][..], &child.to_le_bytes()].concat()).collect()
}

/// A file whose root is a branch of two leaves; the second has a bucket on a page and one inline.
fn file() -> Vec<u8> {
    let inline = page(0, 2, 1, &leaf_body(&[(0, b"k", b"inline")]));
    let inline = [&[0; 16], &inline[..64]].concat();
    let bucket = [6_u64.to_le_bytes(), [0; 8]].concat();
    [
        meta(0, 3, 7, 8),
        meta(1, 2, 7, 7),
        page(2, 2, 0, &[]),
        page(3, 1, 2, &branch_body(&[4, 5])),
        page(4, 2, 1, &leaf_body(&[(0, b"a", b"1")])),
        page(5, 2, 3, &leaf_body(&[(1, b"b", &bucket), (1, b"c", &inline), (0, b"d", b"")])),
        page(6, 2, 1, &leaf_body(&[(0, b"k", b"paged")])),
    ]
    .concat()
}

type Pair = (Vec<u8>, Vec<u8>);

fn read(data: &[u8]) -> Result<Vec<Pair>, BoltError> {
    let bolt = Bolt::open(data)?;
    let mut found = Vec::new();
    let mut pending = vec![bolt.root()];
    while let Some(bucket) = pending.pop() {
        for (key, value) in bolt.entries(bucket)? {
            match value {
                Value::Bytes(bytes) => found.push((key.to_vec(), bytes.to_vec())),
                Value::Bucket(bucket) => pending.push(bucket),
            }
        }
    }
    found.sort();
    Ok(found)
}

#[test]
fn branches_leaves_and_both_kinds_of_buckets_are_read() {
    let found = read(&file()).unwrap();
    let expected: [(&[u8], &[u8]); 4] = [(b"a", b"1"), (b"d", b""), (b"k", b"inline"), (b"k", b"paged")];
    let found: Vec<(&[u8], &[u8])> = found.iter().map(|(key, value)| (&key[..], &value[..])).collect();
    assert_eq!(found, expected);
}

#[test]
fn of_two_meta_pages_the_whole_and_later_one_counts() {
    let mut data = file();
    data[16 + 48] ^= 1;
    assert_eq!(read(&data), Ok(vec![]), "the earlier one has an empty root");
    data[SIZE + 16 + 48] ^= 1;
    assert_eq!(read(&data), Err(BoltError::NoMeta));
    for nothing in [&[][..], b"SQLite format 3\0", &[0; 10_000]] {
        assert_eq!(read(nothing), Err(BoltError::NoMeta));
    }
}

#[test]
fn a_circle_ends() {
    let mut data = file();
    let first_child = 3 * SIZE + 16 + 8;
    data[first_child..first_child + 8].copy_from_slice(&3_u64.to_le_bytes());
    assert_eq!(read(&data), Err(BoltError::Page { page: 3, problem: "it is used twice" }));
}

#[test]
fn a_bucket_that_contains_itself_ends() {
    // Every entry of the inline leaf is the leaf again: a few hundred bytes that would unfold for ever.
    let mut leaf = page(0, 2, 60, &[]);
    for index in 0..60_usize {
        let at = 16 + index * 16;
        let words = [1_u32, 0, 0, 4000 - u32::try_from(at).unwrap()];
        let element: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
        leaf[at..at + 16].copy_from_slice(&element);
    }
    leaf[..8].copy_from_slice(&2_u64.to_le_bytes());
    let data = [meta(0, 2, 3, 1), meta(1, 2, 3, 0), leaf].concat();
    assert!(read(&data).is_err());
}

#[test]
fn whatever_byte_is_changed_or_missing_reading_ends() {
    let whole = file();
    for at in 0..whole.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut data = whole.clone();
            data[at] ^= flip;
            let _ = read(&data);
        }
    }
    for end in (0..whole.len()).step_by(13) {
        let _ = read(&whole[..end]);
    }
}
