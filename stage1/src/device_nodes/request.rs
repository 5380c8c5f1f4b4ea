//! What the file server asks for, as bytes.
//!
//! Responsible for: writing and reading requests; reading believes nothing. Must not know: sockets, directories. Follows mknod(2).
//!
//! Writing happens in a signal's handler, so there is no memory but what is on the stack.

use rustix::fs::FileType;
use rustix::io::Errno;

/// Numbers of a request: mode and type, device, umask, group, each of four bytes with the lowest first.
const NUMBERS: usize = 4;

/// Bytes before the name.
const HEADER_BYTES: usize = NUMBERS * size_of::<u32>();

/// Bytes of a name at most (`NAME_MAX` of limits.h).
pub(super) const NAME_BYTES: usize = 255;

/// What a mode has besides the type.
const MODE_BITS: u32 = 0o7777;

/// Bytes of a request at most.
pub(super) const REQUEST_BYTES: usize = HEADER_BYTES + NAME_BYTES;

/// A node to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request<'a> {
    /// Its type and mode, as mknod(2) takes them.
    pub(super) mode: u32,
    /// Which device, as mknod(2) takes it.
    pub(super) device: u32,
    /// What its mode is not to have, unless the directory has a default ACL.
    pub(super) umask: u32,
    /// Its group, unless the directory decides.
    pub(super) group: u32,
    /// Its name in its directory.
    pub(super) name: &'a [u8],
}

/// A request's bytes.
pub(super) struct Encoded {
    bytes: [u8; REQUEST_BYTES],
    used: usize,
}

impl Encoded {
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.used).unwrap_or_default()
    }
}

impl<'a> Request<'a> {
    /// `Err` if the name is too long.
    pub(super) fn encode(&self) -> Result<Encoded, Errno> {
        let numbers = [self.mode, self.device, self.umask, self.group];
        let used = HEADER_BYTES + self.name.len();
        let mut bytes = [0; REQUEST_BYTES];
        let (header, name) = bytes.split_at_mut(HEADER_BYTES);
        for (slot, number) in header.chunks_exact_mut(size_of::<u32>()).zip(numbers) {
            slot.copy_from_slice(&number.to_le_bytes());
        }
        name.get_mut(..self.name.len()).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(self.name);
        Ok(Encoded { bytes, used })
    }

    /// Reads what somebody says who may be anybody. `Err`, as mknod(2) would put it, unless it is a device of a name that leads nowhere
    /// else.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, Errno> {
        let (header, name) = bytes.split_at_checked(HEADER_BYTES).ok_or(Errno::INVAL)?;
        let (header, _) = header.as_chunks::<{ size_of::<u32>() }>();
        let &[mode, device, umask, group] = header else { return Err(Errno::INVAL) };
        let [mode, device, umask, group] = [mode, device, umask, group].map(u32::from_le_bytes);
        let request = Self { mode, device, umask, group, name };
        if !matches!(request.file_type(), FileType::CharacterDevice | FileType::BlockDevice) {
            return Err(Errno::PERM);
        }
        if mode & !(libc::S_IFMT | MODE_BITS) != 0 || umask & !0o777 != 0 || group == u32::MAX {
            return Err(Errno::INVAL);
        }
        match name {
            [] => Err(Errno::NOENT),
            _ if name.len() > NAME_BYTES => Err(Errno::NAMETOOLONG),
            b"." | b".." => Err(Errno::EXIST),
            _ if name.iter().any(|byte| matches!(byte, 0 | b'/')) => Err(Errno::INVAL),
            _ => Ok(request),
        }
    }

    pub(super) fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.mode)
    }
}
