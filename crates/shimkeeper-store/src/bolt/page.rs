// SPDX-License-Identifier: Apache-2.0
//! Pages of a bbolt file: every number is checked against the bytes that are there.

use super::BoltError;

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;
/// What a page starts with.
const HEADER: usize = 16;
/// An element of either kind of page.
const ELEMENT: usize = 16;
const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
/// Page sizes that are tried when the first meta page cannot say which it is.
const SIZES: std::ops::RangeInclusive<u32> = 10..=16;

/// What counts for the whole file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) page_size: usize,
    pub(super) root: u64,
    /// One more than the number of the last page ever used.
    pub(super) pages: u64,
    transaction: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Branch,
    Leaf,
}

/// A page with elements. Its bytes are those of all pages it extends over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page<'a> {
    pub(super) id: u64,
    pub(super) kind: Kind,
    pub(super) count: usize,
    /// For errors: where it was looked for.
    number: u64,
    bytes: &'a [u8],
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|chunk| u64::from_le_bytes(*chunk))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_le_bytes(*chunk))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|chunk| u16::from_le_bytes(*chunk))
}

fn length_at(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u32_at(bytes, at)?).ok()
}

// === impl Meta ===

impl Meta {
    /// The whole meta page with the later transaction. They are written in turn, so that one is always whole.
    pub(super) fn find(data: &[u8]) -> Option<Self> {
        let first = Self::parse(data);
        let sizes = SIZES.map(|exponent| 1_usize << exponent);
        let sizes = sizes.filter(|size| first.is_none_or(|meta| meta.page_size == *size));
        let second = sizes.filter_map(|size| {
            let meta = Self::parse(data.get(size..)?)?;
            (meta.page_size == size).then_some(meta)
        });
        first.into_iter().chain(second).max_by_key(|meta| meta.transaction)
    }

    fn parse(page: &[u8]) -> Option<Self> {
        let meta = page.get(HEADER..HEADER + 64)?;
        if u32_at(meta, 0)? != MAGIC || u32_at(meta, 4)? != VERSION || u64_at(meta, 56)? != fnv1a(&meta[..56])
        {
            return None;
        }
        let page_size = length_at(meta, 8)?;
        if !page_size.is_power_of_two() || page_size < 1024 {
            return None;
        }
        let (root, pages, transaction) = (u64_at(meta, 16)?, u64_at(meta, 40)?, u64_at(meta, 48)?);
        Some(Self { page_size, root, pages, transaction })
    }
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

// === impl Page ===

impl<'a> Page<'a> {
    /// The bytes of the page that `rest` starts with: one page, and as many more as it says it flows over into.
    pub(super) fn extent(rest: &'a [u8], page_size: usize) -> Option<&'a [u8]> {
        let pages = length_at(rest, 12)?.checked_add(1)?;
        rest.get(..pages.checked_mul(page_size)?)
    }

    pub(super) fn parse(number: u64, bytes: &'a [u8]) -> Result<Self, BoltError> {
        let damaged = |problem| BoltError::Page { page: number, problem };
        let cut_off = damaged("it is cut off");
        let (id, flags) = (u64_at(bytes, 0).ok_or(cut_off)?, u16_at(bytes, 8).ok_or(cut_off)?);
        let count = usize::from(u16_at(bytes, 10).ok_or(cut_off)?);
        let kind = match flags {
            BRANCH => Kind::Branch,
            LEAF => Kind::Leaf,
            _ => return Err(damaged("it is neither branch nor leaf")),
        };
        Ok(Self { id, kind, count, number, bytes })
    }

    pub(super) fn damaged(&self, problem: &'static str) -> BoltError {
        BoltError::Page { page: self.number, problem }
    }

    /// The element's bytes and all that follow.
    fn element(&self, index: usize) -> Result<&'a [u8], BoltError> {
        let at = HEADER + index * ELEMENT;
        let element = self.bytes.get(at..).filter(|rest| rest.len() >= ELEMENT);
        element.ok_or(self.damaged("an element is cut off"))
    }

    /// The page that a branch's element leads to.
    pub(super) fn child(&self, index: usize) -> Result<u64, BoltError> {
        u64_at(self.element(index)?, 8).ok_or(self.damaged("an element is cut off"))
    }

    /// A leaf's element: whether it is a bucket, its key and its value.
    pub(super) fn entry(&self, index: usize) -> Result<(bool, &'a [u8], &'a [u8]), BoltError> {
        let element = self.element(index)?;
        let parts = || {
            let flags = u32_at(element, 0)?;
            let (at, key, value) = (length_at(element, 4)?, length_at(element, 8)?, length_at(element, 12)?);
            let (key, rest) = element.get(at..)?.split_at_checked(key)?;
            Some((flags & 1 == 1, key, rest.get(..value)?))
        };
        parts().ok_or(self.damaged("an entry is beyond its page"))
    }
}
