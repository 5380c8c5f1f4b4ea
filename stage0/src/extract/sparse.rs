//! Maps of sparse files: where a file has data; everything else is a hole.

use std::io::Read;

use super::number::numeric;
use super::pax::{Extensions, decimal};
use super::{ExtractError, MAX_SPARSE_SEGMENTS};

const BLOCK: usize = 512;
/// Offset and length of one segment in an old GNU header, twelve bytes each.
const OLD_ENTRY: usize = 24;

/// A run of data in a sparse file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where it begins in the file, in bytes.
    pub offset: u64,
    /// Its bytes.
    pub length: u64,
}

/// A sparse file's size with its holes, and its segments in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SparseMap {
    /// Bytes of the whole file.
    pub size: u64,
    /// Ascending, not overlapping, within the size.
    pub segments: Vec<Segment>,
}

impl SparseMap {
    /// Checks the map against itself and against `data` bytes in the archive.
    pub(super) fn checked(self, data: u64) -> Result<Self, ExtractError> {
        let mut end = 0_u64;
        let mut sum = 0_u64;
        for segment in &self.segments {
            let next = segment.offset.checked_add(segment.length);
            match next {
                Some(next) if segment.offset >= end && next <= self.size => end = next,
                _ => return Err(ExtractError::malformed("the map of a sparse file contradicts itself")),
            }
            // Cannot overflow: segments are disjoint and end within the size.
            sum += segment.length;
        }
        if sum == data {
            Ok(self)
        } else {
            Err(ExtractError::malformed("the map of a sparse file does not fit its data"))
        }
    }

    fn push(&mut self, offset: u64, length: u64) -> Result<(), ExtractError> {
        if self.segments.len() >= MAX_SPARSE_SEGMENTS {
            let limit = MAX_SPARSE_SEGMENTS as u64;
            return Err(ExtractError::limit("segments of one sparse file", limit));
        }
        // Formats mark the end of a file that ends in a hole by an empty segment.
        if length > 0 {
            self.segments.push(Segment { offset, length });
        }
        Ok(())
    }
}

fn bad_map() -> ExtractError {
    ExtractError::malformed("the map of a sparse file cannot be read")
}

/// Old GNU format (type `S`): four segments in the header, more in blocks that follow it. `next_block` reads one.
pub(super) fn old_gnu(
    header: &[u8; BLOCK],
    mut next_block: impl FnMut() -> Result<[u8; BLOCK], ExtractError>,
) -> Result<SparseMap, ExtractError> {
    let size = header.get(483..495).and_then(numeric).ok_or_else(bad_map)?;
    let mut map = SparseMap { size, segments: Vec::new() };
    push_old_entries(&mut map, header.get(386..482).unwrap_or_default())?;
    let mut extended = header.get(482).is_some_and(|flag| *flag != 0);
    while extended {
        let block = next_block()?;
        push_old_entries(&mut map, block.get(..504).unwrap_or_default())?;
        extended = block.get(504).is_some_and(|flag| *flag != 0);
    }
    Ok(map)
}

fn push_old_entries(map: &mut SparseMap, entries: &[u8]) -> Result<(), ExtractError> {
    for entry in entries.chunks_exact(OLD_ENTRY) {
        if entry.first() == Some(&0) {
            break;
        }
        let offset = entry.get(..12).and_then(numeric).ok_or_else(bad_map)?;
        let length = entry.get(12..).and_then(numeric).ok_or_else(bad_map)?;
        map.push(offset, length)?;
    }
    Ok(())
}

/// pax formats 0.0 and 0.1, where the map stands in the records. None if the records are of no such format.
pub(super) fn pax_0(extensions: &Extensions) -> Result<Option<SparseMap>, ExtractError> {
    let Some(size) = extensions.sparse_record(b"size") else {
        return Ok(None);
    };
    let mut map = SparseMap { size: decimal(size).ok_or_else(bad_map)?, segments: Vec::new() };
    if let Some(text) = extensions.sparse_record(b"map") {
        let mut numbers = text.split(|byte| *byte == b',').filter(|number| !number.is_empty());
        while let Some(offset) = numbers.next() {
            let length = numbers.next().and_then(decimal).ok_or_else(bad_map)?;
            map.push(decimal(offset).ok_or_else(bad_map)?, length)?;
        }
    } else {
        let mut offset = None;
        for (key, value) in &extensions.sparse {
            match key.as_slice() {
                b"offset" => offset = Some(decimal(value).ok_or_else(bad_map)?),
                b"numbytes" => {
                    let offset = offset.take().ok_or_else(bad_map)?;
                    map.push(offset, decimal(value).ok_or_else(bad_map)?)?;
                }
                _ => {}
            }
        }
    }
    Ok(Some(map))
}

/// Whether the records say pax format 1.0, where the map stands before the data.
pub(super) fn is_pax_1(extensions: &Extensions) -> bool {
    extensions.sparse_record(b"major") == Some(b"1") && extensions.sparse_record(b"minor") == Some(b"0")
}

/// Reads the map of pax format 1.0 from the entry's data. Returns it with the bytes it took, a multiple of 512.
pub(super) fn pax_1(extensions: &Extensions, data: impl Read) -> Result<(SparseMap, u64), ExtractError> {
    let size = extensions.sparse_record(b"realsize").and_then(decimal).ok_or_else(bad_map)?;
    let mut map = SparseMap { size, segments: Vec::new() };
    let mut lines = Lines { data, block: [0; BLOCK], at: BLOCK, taken: 0 };
    for _ in 0..lines.number()? {
        let offset = lines.number()?;
        let length = lines.number()?;
        map.push(offset, length)?;
    }
    Ok((map, lines.taken))
}

/// Decimal numbers, one a line, in blocks.
struct Lines<R> {
    data: R,
    block: [u8; BLOCK],
    at: usize,
    taken: u64,
}

impl<R: Read> Lines<R> {
    fn number(&mut self) -> Result<u64, ExtractError> {
        let mut value = 0_u64;
        loop {
            match self.byte()? {
                b'\n' => return Ok(value),
                digit @ b'0'..=b'9' => {
                    let digit = u64::from(digit - b'0');
                    value = value.checked_mul(10).and_then(|v| v.checked_add(digit)).ok_or_else(bad_map)?;
                }
                _ => return Err(bad_map()),
            }
        }
    }

    fn byte(&mut self) -> Result<u8, ExtractError> {
        if self.at == BLOCK {
            self.data.read_exact(&mut self.block).map_err(|_| bad_map())?;
            self.taken += BLOCK as u64;
            self.at = 0;
        }
        let byte = self.block.get(self.at).copied().ok_or_else(bad_map)?;
        self.at += 1;
        Ok(byte)
    }
}
