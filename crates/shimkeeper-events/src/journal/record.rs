// SPDX-License-Identifier: Apache-2.0
//! One event on disk.
//!
//! ```text
//! offset  0  length of the body, u32     all numbers little-endian
//!         4  number of the event, u64
//!        12  when it was written, seconds since 1970, u64
//!        20  crc32 of the above
//!        24  body: a containerd.types.Envelope
//!         …  crc32 of the body
//! ```
//!
//! The header has a checksum of its own: where only the body is damaged, the records behind it can be reached.

/// Bytes before the body.
pub(super) const HEADER: usize = 24;
/// Bytes of the smallest record.
pub(super) const MIN: usize = HEADER + CRC;

const CRC: usize = 4;

/// What stands before the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) len: u32,
    pub(super) sequence: u64,
    pub(super) written: u64,
}

/// Bytes of the record with this body.
pub(super) fn size(body: &[u8]) -> usize {
    MIN + body.len()
}

/// Appends a record to `out`.
///
/// # Panics
/// If the body is of 4 GiB, which no envelope is.
pub(super) fn encode(out: &mut Vec<u8>, sequence: u64, written: u64, body: &[u8]) {
    let len = u32::try_from(body.len()).expect("an envelope is at most little more than a mebibyte");
    let start = out.len();
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&sequence.to_le_bytes());
    out.extend_from_slice(&written.to_le_bytes());
    let crc = crc32fast::hash(&out[start..]);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(body);
    out.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
}

/// The body in what follows a header, if it is undamaged.
pub(super) fn body(rest: &[u8]) -> Option<&[u8]> {
    let (body, crc) = rest.split_last_chunk::<CRC>()?;
    (crc32fast::hash(body) == u32::from_le_bytes(*crc)).then_some(body)
}

// === impl Header ===

impl Header {
    /// The header at the start of `bytes`, if there is an undamaged one.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (fields, rest) = bytes.split_first_chunk::<{ HEADER - CRC }>()?;
        let crc = rest.first_chunk::<CRC>()?;
        if crc32fast::hash(fields) != u32::from_le_bytes(*crc) {
            return None;
        }
        let (len, numbers) = fields.split_first_chunk::<4>()?;
        let (sequence, written) = numbers.split_first_chunk::<8>()?;
        Some(Self {
            len: u32::from_le_bytes(*len),
            sequence: u64::from_le_bytes(*sequence),
            written: u64::from_le_bytes(*written.first_chunk()?),
        })
    }

    /// Bytes behind the header: the body and its checksum.
    pub(super) fn rest(&self) -> usize {
        self.len as usize + CRC
    }

    /// Bytes of the whole record.
    pub(super) fn size(&self) -> u64 {
        (HEADER + self.rest()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_and_every_flipped_bit_is_noticed() {
        let mut record = Vec::new();
        encode(&mut record, 7, 1_700_000_000, b"body");
        assert_eq!(record.len(), size(b"body"));
        let header = Header { len: 4, sequence: 7, written: 1_700_000_000 };
        assert_eq!((Header::parse(&record), header.size()), (Some(header), record.len() as u64));
        assert_eq!(body(&record[HEADER..]), Some(&b"body"[..]));
        for bit in 0..record.len() * 8 {
            let mut damaged = record.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let whole = Header::parse(&damaged).and_then(|_| body(&damaged[HEADER..]));
            assert_eq!(whole, None, "bit {bit}");
        }
    }

    #[test]
    fn zeros_and_short_pieces_are_no_record() {
        assert_eq!(Header::parse(&[0; 64]), None);
        assert_eq!(Header::parse(&[]), None);
        assert_eq!(body(&[1, 2]), None);
    }
}
