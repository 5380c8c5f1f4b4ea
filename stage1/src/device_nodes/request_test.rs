use rustix::io::Errno;

use super::request::{NAME_BYTES, Request};

const NULL: Request<'_> =
    Request { mode: libc::S_IFCHR | 0o666, device: 259, umask: 0o022, group: 77, name: b"null" };

fn parsed(request: Request<'_>) -> Result<(), Errno> {
    let bytes = request.encode().unwrap();
    Request::parse(bytes.bytes()).map(drop)
}

#[test]
fn request_arrives_as_it_was_written() {
    let longest = [b'x'; NAME_BYTES];
    for request in [
        NULL,
        Request { mode: libc::S_IFBLK | 0o7777, device: u32::MAX, umask: 0o777, group: 0, name: &longest },
        Request { name: b"...", ..NULL },
        Request { name: b"\xff \n", ..NULL },
    ] {
        let bytes = request.encode().unwrap();

        assert_eq!(Request::parse(bytes.bytes()), Ok(request));
    }
}

#[test]
fn name_that_could_lead_anywhere_else_is_refused() {
    for (name, errno) in [
        (&b""[..], Errno::NOENT),
        (b".", Errno::EXIST),
        (b"..", Errno::EXIST),
        (b"/", Errno::INVAL),
        (b"/null", Errno::INVAL),
        (b"a/null", Errno::INVAL),
        (b"../null", Errno::INVAL),
        (b"null/", Errno::INVAL),
        (b"null\0", Errno::INVAL),
        (b"\0", Errno::INVAL),
    ] {
        assert_eq!(parsed(Request { name, ..NULL }), Err(errno), "{name:?}");
    }
    let mut long = NULL.encode().unwrap().bytes().to_vec();
    long.resize(long.len() + NAME_BYTES, b'x');
    assert_eq!(Request::parse(&long), Err(Errno::NAMETOOLONG));
    assert_eq!(Request { name: &[b'x'; NAME_BYTES + 1], ..NULL }.encode().err(), Some(Errno::NAMETOOLONG));
}

#[test]
fn nothing_but_a_device_is_made() {
    for file_type in
        [0, libc::S_IFREG, libc::S_IFDIR, libc::S_IFIFO, libc::S_IFSOCK, libc::S_IFLNK, libc::S_IFMT]
    {
        assert_eq!(parsed(Request { mode: file_type | 0o666, ..NULL }), Err(Errno::PERM), "{file_type:o}");
    }
}

#[test]
fn numbers_out_of_range_are_refused() {
    for request in [
        Request { mode: 0x8000_0000 | NULL.mode, ..NULL },
        Request { umask: 0o1000, ..NULL },
        Request { umask: u32::MAX, ..NULL },
        Request { group: u32::MAX, ..NULL },
    ] {
        assert_eq!(parsed(request), Err(Errno::INVAL), "{request:?}");
    }
}

#[test]
fn piece_of_a_request_is_refused() {
    let bytes = NULL.encode().unwrap();
    let whole = bytes.bytes();

    for length in 0..=whole.len() - NULL.name.len() {
        assert!(Request::parse(&whole[..length]).is_err(), "{length}");
    }
}
