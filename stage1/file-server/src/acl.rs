//! Reading access control lists.
//!
//! Responsible for: how much room is left for one. Must not know: what it says. Follows linux/posix_acl_xattr.h.

use std::ffi::CStr;

/// Bytes before the first entry, and of an entry.
const HEADER_BYTES: u32 = 4;
const ENTRY_BYTES: u32 = 8;

/// The size of a buffer for an extended attribute, where `size` bytes are wanted of it at most.
///
/// Where owners are translated, Linux before 6.2 translates a list only if the buffer could be one to its end
/// (`posix_acl_getxattr_idmapped_mnt`, fs/posix_acl.c): it takes the buffer's size for the list's. What is left out here no list could have used.
pub(crate) fn room_for(name: &CStr, size: u32) -> u32 {
    match size.checked_sub(HEADER_BYTES) {
        Some(entries) if name.to_bytes().starts_with(b"system.posix_acl_") => size - entries % ENTRY_BYTES,
        _ => size,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffer_of_a_list_ends_with_an_entry_and_any_other_is_as_large_as_wanted() {
        let room = |name: &CStr| [0, 3, 4, 11, 12, 4095, 4096].map(|size| room_for(name, size));

        assert_eq!(room(c"system.posix_acl_access"), [0, 3, 4, 4, 12, 4092, 4092]);
        assert_eq!(room(c"system.posix_acl_default"), [0, 3, 4, 4, 12, 4092, 4092]);
        assert_eq!(room(c"user.list"), [0, 3, 4, 11, 12, 4095, 4096]);
    }
}
