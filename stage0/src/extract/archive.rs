//! Reading a tar archive entry by entry, without trusting a single length in it.
//!
//! Responsible for: header blocks, GNU long names, pax records, sparse maps, and the data behind each header. Must not
//! know: where entries go. Follows POSIX pax and GNU tar's manual ("Tar Internals").

use std::io::{self, Read};

use tar::{EntryType, Header};

use super::number::{numeric, signed};
use super::pax::Extensions;
use super::sparse::{self, SparseMap};
use super::{ExtractError, MAX_CONTENT_BYTES, MAX_ENTRIES, MAX_EXTENSION_BYTES, MAX_PATH_BYTES};

const BLOCK: u64 = 512;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file; `None` means that all its bytes are in the archive.
    File(Option<SparseMap>),
    /// Another name of an earlier entry.
    HardLink(Vec<u8>),
    /// A symbolic link with this text.
    Symlink(Vec<u8>),
    /// A character device: major and minor number.
    CharDevice(u32, u32),
    /// A block device: major and minor number.
    BlockDevice(u32, u32),
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// One entry's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// As in the archive; [`super::EntryName::parse`] decides what it means.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits, set-user-ID and the like.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds and nanoseconds since 1970.
    pub mtime: (i64, u32),
    /// Extended attributes, by full name.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Bytes of data in the archive.
    pub data_bytes: u64,
}

/// An archive being read.
pub struct Archive<R> {
    source: R,
    /// Data of the current entry that nobody has read yet.
    data_left: u64,
    /// Padding behind it.
    padding: u64,
    entries: u64,
    content: u64,
    ended: bool,
}

impl<R: Read> Archive<R> {
    /// Reads from the archive's first byte.
    pub fn new(source: R) -> Self {
        Self { source, data_left: 0, padding: 0, entries: 0, content: 0, ended: false }
    }

    /// The next entry, or `None` at the end. What is left of the former entry's data is skipped.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ExtractError> {
        let mut long_name = None;
        let mut long_link = None;
        let mut extensions = Extensions::default();
        let mut extension_bytes = 0_u64;
        loop {
            let Some(block) = self.next_header()? else {
                return Ok(None);
            };
            let header = Header::from_byte_slice(&block);
            let kind = header.entry_type();
            let size = header.entry_size().map_err(malformed)?;
            let is_extension = kind.is_gnu_longname()
                || kind.is_gnu_longlink()
                || kind.is_pax_local_extensions()
                || kind.is_pax_global_extensions();
            if is_extension {
                extension_bytes = extension_bytes.saturating_add(size);
                if extension_bytes > MAX_EXTENSION_BYTES {
                    let limit = MAX_EXTENSION_BYTES;
                    return Err(ExtractError::limit("bytes of extended headers before an entry", limit));
                }
            }
            match kind {
                EntryType::GNULongName => long_name = Some(self.extension_text(size)?),
                EntryType::GNULongLink => long_link = Some(self.extension_text(size)?),
                EntryType::XHeader => extensions.read(&self.extension(size)?)?,
                // Global records are comments in practice; what they could say about entries, entries say themselves.
                EntryType::XGlobalHeader => drop(self.extension(size)?),
                _ => return self.finish_entry(&block, long_name, long_link, &mut extensions).map(Some),
            }
        }
    }

    /// Reads the current entry's data.
    pub fn data(&mut self) -> impl Read {
        Data(self)
    }

    /// Reads to the end of the source, so that whoever stands behind it has seen every byte.
    pub fn finish(mut self) -> Result<(), ExtractError> {
        while self.next_entry()?.is_some() {}
        io::copy(&mut self.source, &mut io::sink()).map_err(ExtractError::Read)?;
        Ok(())
    }

    fn next_header(&mut self) -> Result<Option<[u8; 512]>, ExtractError> {
        let (data, padding) = (std::mem::take(&mut self.data_left), std::mem::take(&mut self.padding));
        if self.skip(data)? < data {
            return Err(ExtractError::truncated("it ends inside an entry's data"));
        }
        // `umoci insert` leaves the last entry's padding out, and Go's reader, docker's and umoci's, does not mind.
        match self.skip(padding)? {
            skipped if skipped == padding => {}
            0 => self.ended = true,
            _ => return Err(ExtractError::truncated("it ends behind an entry's data")),
        }
        if self.ended {
            return Ok(None);
        }
        let Some(block) = self.block()? else {
            self.ended = true;
            // Archives without an end mark are tolerated, as every tar does; images without any entry are not.
            return if self.entries > 0 { Ok(None) } else { Err(ExtractError::truncated("it is empty")) };
        };
        if block.iter().all(|byte| *byte == 0) {
            self.ended = true;
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block);
        let checksum_field = 148..156;
        let sum: u32 = block
            .iter()
            .enumerate()
            .map(|(at, byte)| if checksum_field.contains(&at) { u32::from(b' ') } else { u32::from(*byte) })
            .sum();
        if header.cksum().map_err(malformed)? != sum {
            return Err(ExtractError::malformed("a header's checksum is wrong, or this is no tar archive"));
        }
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            return Err(ExtractError::limit("entries", MAX_ENTRIES));
        }
        Ok(Some(block))
    }

    fn finish_entry(
        &mut self,
        block: &[u8; 512],
        long_name: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
        extensions: &mut Extensions,
    ) -> Result<Entry, ExtractError> {
        let header = Header::from_byte_slice(block);
        let name = extensions
            .sparse_record(b"name")
            .map(<[u8]>::to_vec)
            .or(extensions.path.take())
            .or(long_name)
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let link = || {
            extensions.link.clone().or(long_link).or_else(|| header.link_name_bytes().map(|l| l.into_owned()))
        };
        let mut data = extensions.size.map_or_else(|| header.entry_size().map_err(malformed), Ok)?;
        let kind = match header.entry_type() {
            EntryType::Regular if name.ends_with(b"/") => EntryKind::Directory,
            EntryType::Regular | EntryType::Continuous => self.regular(extensions, &mut data)?,
            EntryType::GNUSparse => {
                let map = sparse::old_gnu(block, || self.block_or_truncated())?;
                EntryKind::File(Some(map.checked(data)?))
            }
            EntryType::Link => EntryKind::HardLink(link().unwrap_or_default()),
            EntryType::Symlink => EntryKind::Symlink(link().unwrap_or_default()),
            EntryType::Directory => EntryKind::Directory,
            EntryType::Fifo => EntryKind::Fifo,
            EntryType::Char => {
                EntryKind::CharDevice(device(header.device_major())?, device(header.device_minor())?)
            }
            EntryType::Block => {
                EntryKind::BlockDevice(device(header.device_major())?, device(header.device_minor())?)
            }
            other => {
                let reason =
                    format!("entries of type {:?} have no place in an image", char::from(other.as_byte()));
                return Err(ExtractError::refused(&name, reason));
            }
        };
        if let EntryKind::Symlink(target) | EntryKind::HardLink(target) = &kind
            && (target.is_empty() || target.len() > MAX_PATH_BYTES || target.contains(&0))
        {
            return Err(ExtractError::refused(&name, "its link target is empty or no path"));
        }
        // Only regular files have data; other types carry a size in some archives, and mean nothing by it.
        if let EntryKind::File(map) = &kind {
            let claimed = map.as_ref().map_or(data, |map| map.size);
            self.content = self.content.saturating_add(claimed);
            if self.content > MAX_CONTENT_BYTES {
                return Err(ExtractError::limit("bytes in files", MAX_CONTENT_BYTES));
            }
        } else {
            data = 0;
        }
        self.set_data(data)?;
        let fields = header.as_old();
        let id = |record: Option<u64>, field: &[u8]| record.or_else(|| numeric(field)).ok_or_else(bad_field);
        let mode = numeric(&fields.mode).ok_or_else(bad_field)? & 0o7777;
        Ok(Entry {
            mode: mode.try_into().unwrap_or(0),
            uid: owner(&name, id(extensions.uid, &fields.uid)?)?,
            gid: owner(&name, id(extensions.gid, &fields.gid)?)?,
            mtime: match extensions.mtime {
                Some(time) => time,
                None => (signed(&fields.mtime).ok_or_else(bad_field)?, 0),
            },
            xattrs: std::mem::take(&mut extensions.xattrs),
            data_bytes: data,
            kind,
            name,
        })
    }

    /// A regular file, sparse or not. Takes the map of pax format 1.0 off the data.
    fn regular(&mut self, extensions: &Extensions, data: &mut u64) -> Result<EntryKind, ExtractError> {
        let map = if sparse::is_pax_1(extensions) {
            let (map, taken) = sparse::pax_1(extensions, (&mut self.source).take(*data))?;
            *data -= taken;
            Some(map)
        } else {
            sparse::pax_0(extensions)?
        };
        Ok(EntryKind::File(map.map(|map| map.checked(*data)).transpose()?))
    }

    /// The content of an extended header; the caller has checked its size.
    fn extension(&mut self, size: u64) -> Result<Vec<u8>, ExtractError> {
        self.set_data(size)?;
        let mut content = Vec::new();
        Data(self).read_to_end(&mut content).map_err(read_error)?;
        Ok(content)
    }

    fn extension_text(&mut self, size: u64) -> Result<Vec<u8>, ExtractError> {
        let mut text = self.extension(size)?;
        if let Some(end) = text.iter().position(|byte| *byte == 0) {
            text.truncate(end);
        }
        Ok(text)
    }

    fn set_data(&mut self, size: u64) -> Result<(), ExtractError> {
        let padded = size.checked_next_multiple_of(BLOCK);
        let padded = padded.ok_or_else(|| ExtractError::malformed("an entry's size is impossible"))?;
        self.data_left = size;
        self.padding = padded - size;
        Ok(())
    }

    /// How many bytes there were to skip, at most `bytes`.
    fn skip(&mut self, bytes: u64) -> Result<u64, ExtractError> {
        io::copy(&mut (&mut self.source).take(bytes), &mut io::sink()).map_err(ExtractError::Read)
    }

    fn block_or_truncated(&mut self) -> Result<[u8; 512], ExtractError> {
        self.block()?.ok_or(ExtractError::truncated("it ends inside an entry's header"))
    }

    /// A whole block, or `None` if the source ended before its first byte.
    fn block(&mut self) -> Result<Option<[u8; 512]>, ExtractError> {
        let mut block = [0; 512];
        let mut filled = 0;
        while let Some(rest) = block.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.source.read(rest) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(ExtractError::truncated("it ends inside an entry's header")),
                Ok(count) => filled += count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(ExtractError::Read(e)),
            }
        }
        Ok(Some(block))
    }
}

/// The data of one entry. A source that ends early is an error, not an end.
struct Data<'a, R>(&'a mut Archive<R>);

impl<R: Read> Read for Data<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.0.data_left).unwrap_or(usize::MAX).min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        let count = self.0.source.read(buffer.get_mut(..wanted).unwrap_or_default())?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.0.data_left -= count as u64;
        Ok(count)
    }
}

/// An error of reading data: an end that comes too soon is the archive's fault, anything else the source's.
pub(super) fn read_error(error: io::Error) -> ExtractError {
    if error.kind() == io::ErrorKind::UnexpectedEof && error.get_ref().is_none() {
        ExtractError::truncated("it ends inside an entry's data")
    } else {
        ExtractError::Read(error)
    }
}

fn malformed(error: io::Error) -> ExtractError {
    ExtractError::malformed(error.to_string())
}

fn bad_field() -> ExtractError {
    ExtractError::malformed("a number in a header is none")
}

fn device(number: io::Result<Option<u32>>) -> Result<u32, ExtractError> {
    number.map_err(malformed)?.ok_or_else(|| ExtractError::malformed("a device has no number"))
}

fn owner(name: &[u8], id: u64) -> Result<u32, ExtractError> {
    // The last number means "leave as it is" to chown.
    match u32::try_from(id) {
        Ok(id) if id != u32::MAX => Ok(id),
        _ => Err(ExtractError::refused(name, format!("{id} is no user or group number"))),
    }
}
