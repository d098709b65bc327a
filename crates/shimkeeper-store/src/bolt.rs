// SPDX-License-Identifier: Apache-2.0
//! A reader of bbolt files, the database that containerd keeps its metadata in. It only reads, believes nothing, and
//! ends after work in proportion to the file: no page is visited twice, and there are no more entries than fit in.
//!
//! ```text
//! file    := meta page, meta page, page …              the meta page with the later transaction counts
//! page    := id u64, flags u16, count u16, overflow u32, elements, keys and values
//! branch  := (position u32, key length u32, page u64) …
//! leaf    := (flags u32, position u32, key length u32, value length u32) …     flag 1: the value is a bucket
//! bucket  := root page u64, sequence u64, [a leaf page of its own, if the root is 0]
//! ```
//!
//! Numbers are little-endian here, as on every machine that this and containerd both run on. A position counts from
//! the element that says it.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;

mod page;

use page::{Kind, Meta, Page};

/// Deepest tree of pages. One of full pages this deep would not fit on any disk.
const DEEPEST: usize = 32;

/// Why bytes are no bbolt file, or a damaged one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BoltError {
    /// Neither meta page is good.
    #[error("it is no bbolt database, or neither of its meta pages is whole")]
    NoMeta,
    /// A page is not what it must be.
    #[error("page {page}: {problem}")]
    Page {
        /// Its number.
        page: u64,
        /// What is wrong.
        problem: &'static str,
    },
    /// There is more in it than can be.
    #[error("more entries than the file has room for")]
    TooMany,
}

/// The bytes of a bbolt file.
#[derive(Debug)]
pub struct Bolt<'a> {
    data: &'a [u8],
    meta: Meta,
    visited: RefCell<HashSet<u64>>,
    /// How many entries there may still be.
    left: Cell<usize>,
}

/// A bucket, not yet looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket<'a>(Place<'a>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place<'a> {
    /// It starts at this page.
    Page(u64),
    /// It is this leaf page, kept within the value of its parent's entry.
    Inline(&'a [u8]),
}

/// What a key stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Bytes.
    Bytes(&'a [u8]),
    /// A bucket within.
    Bucket(Bucket<'a>),
}

/// A key and what it stands for.
pub type Entry<'a> = (&'a [u8], Value<'a>);

impl<'a> Bolt<'a> {
    /// Finds the meta page that counts.
    ///
    /// # Errors
    /// [`BoltError::NoMeta`].
    pub fn open(data: &'a [u8]) -> Result<Self, BoltError> {
        let meta = Meta::find(data).ok_or(BoltError::NoMeta)?;
        // An entry takes sixteen bytes at least.
        let left = Cell::new(data.len() / 16);
        Ok(Self { data, meta, visited: RefCell::default(), left })
    }

    /// The bucket of all others.
    pub fn root(&self) -> Bucket<'a> {
        Bucket(Place::Page(self.meta.root))
    }

    /// What a bucket holds, by key. Each is to be looked into only once.
    ///
    /// # Errors
    /// [`BoltError`], if any page of the bucket is damaged or was visited before.
    pub fn entries(&self, bucket: Bucket<'a>) -> Result<Vec<Entry<'a>>, BoltError> {
        let mut entries = Vec::new();
        match bucket.0 {
            Place::Page(page) => self.collect(page, 0, &mut entries)?,
            Place::Inline(bytes) => {
                let page = Page::parse(0, bytes)?;
                if page.kind != Kind::Leaf {
                    return Err(page.damaged("an inline bucket must be a leaf"));
                }
                self.leaf(&page, &mut entries)?;
            }
        }
        Ok(entries)
    }

    fn collect(&self, number: u64, depth: usize, entries: &mut Vec<Entry<'a>>) -> Result<(), BoltError> {
        let damaged = |problem| BoltError::Page { page: number, problem };
        if depth > DEEPEST {
            return Err(damaged("the tree is too deep"));
        }
        if !self.visited.borrow_mut().insert(number) {
            return Err(damaged("it is used twice"));
        }
        let page = self.page(number)?;
        match page.kind {
            Kind::Leaf => self.leaf(&page, entries),
            Kind::Branch => {
                for index in 0..page.count {
                    self.collect(page.child(index)?, depth + 1, entries)?;
                }
                Ok(())
            }
        }
    }

    fn page(&self, number: u64) -> Result<Page<'a>, BoltError> {
        let damaged = |problem| BoltError::Page { page: number, problem };
        if number < 2 || number >= self.meta.pages {
            return Err(damaged("there is no such page"));
        }
        let start = usize::try_from(number).ok().and_then(|number| number.checked_mul(self.meta.page_size));
        let rest =
            start.and_then(|start| self.data.get(start..)).ok_or(damaged("it is beyond the file's end"))?;
        let bytes = Page::extent(rest, self.meta.page_size).ok_or(damaged("it is beyond the file's end"))?;
        let page = Page::parse(number, bytes)?;
        if page.id != number {
            return Err(damaged("it calls itself otherwise"));
        }
        Ok(page)
    }

    fn leaf(&self, page: &Page<'a>, entries: &mut Vec<Entry<'a>>) -> Result<(), BoltError> {
        for index in 0..page.count {
            let left = self.left.get().checked_sub(1).ok_or(BoltError::TooMany)?;
            self.left.set(left);
            let (is_bucket, key, value) = page.entry(index)?;
            let value = if is_bucket { Value::Bucket(bucket(page, value)?) } else { Value::Bytes(value) };
            entries.push((key, value));
        }
        Ok(())
    }
}

fn bucket<'a>(page: &Page<'a>, value: &'a [u8]) -> Result<Bucket<'a>, BoltError> {
    let (header, rest) = value.split_at_checked(16).ok_or(page.damaged("a bucket is cut off"))?;
    let root = page::u64_at(header, 0).ok_or(page.damaged("a bucket is cut off"))?;
    Ok(Bucket(if root == 0 { Place::Inline(rest) } else { Place::Page(root) }))
}

#[cfg(test)]
mod tests;
