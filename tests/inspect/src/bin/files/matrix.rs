//! Every operation that takes a path, by everything that can be wrong with a path.
//!
//! Responsible for the two lists and for what Linux answers where they meet (path_resolution(7), the calls' manual
//! pages). Must not know how a step is carried out.

use crate::Case;

/// What an operation wants to find at its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wants {
    /// Something; a symbolic link at the end is followed.
    Target,
    /// Something; a symbolic link at the end is meant itself.
    Entry,
    /// A directory.
    Directory,
    /// Nothing: it makes the entry.
    Nothing,
    /// Nothing, or a file that it opens.
    Either,
}

use Wants::{Directory, Either, Entry, Nothing, Target};

/// An operation: what has to be there first, the call with `%` for the path, what it wants there, whether it changes what it
/// finds (else: only looks).
struct Operation {
    name: &'static str,
    before: &'static str,
    call: &'static str,
    wants: Wants,
    changes: bool,
}

const fn operation(
    name: &'static str,
    before: &'static str,
    call: &'static str,
    wants: Wants,
    changes: bool,
) -> Operation {
    Operation { name, before, call, wants, changes }
}

const OPERATIONS: [Operation; 32] = [
    operation("chmod", "", "chmod % 0600", Target, true),
    operation("chown", "", "chown % 0 0", Target, true),
    operation("lchown", "", "lchown % 0 0", Entry, true),
    operation("truncate", "", "truncate % 0", Target, true),
    operation("utimensat", "", "utimensat % 1 2", Target, true),
    operation("utimensat-link", "", "utimensat % 1 2 NOFOLLOW", Entry, true),
    operation("setxattr", "", "setxattr % user.a b", Target, true),
    operation("removexattr", "", "removexattr % user.a", Target, true),
    operation("open-write", "", "open h % WRONLY", Target, true),
    operation("open-truncate", "", "open h % WRONLY|TRUNC", Target, true),
    operation("unlink", "", "unlink %", Entry, true),
    operation("rename-from", "", "rename % other", Entry, true),
    operation("link-from", "", "link % other", Entry, true),
    operation("rmdir", "", "rmdir %", Directory, true),
    operation("unlinkat-directory", "", "unlinkat % REMOVEDIR", Directory, true),
    operation("open-read", "", "open h % RDONLY", Target, false),
    operation("open-directory", "", "open h % RDONLY|DIRECTORY", Directory, false),
    operation("chdir", "", "chdir %", Directory, false),
    operation("stat", "", "stat % type", Target, false),
    operation("lstat", "", "lstat % nlink", Entry, false),
    operation("access", "", "access % 0", Target, false),
    operation("getxattr", "", "getxattr % user.a", Target, false),
    operation("mkdir", "", "mkdir % 0755", Nothing, true),
    operation("mkfifo", "", "mkfifo % 0644", Nothing, true),
    operation("mknod-file", "", "mknod % file 0644", Nothing, true),
    operation("mknod-socket", "", "mknod % socket 0644", Nothing, true),
    operation("mknod-device", "", "mknod % char 0644 1 3", Nothing, true),
    operation("symlink", "", "symlink target %", Nothing, true),
    operation("link-to", "create old 0666", "link old %", Nothing, true),
    operation("open-exclusive", "", "open h % WRONLY|CREAT|EXCL", Nothing, true),
    operation("open-create", "", "open h % RDWR|CREAT", Either, true),
    operation("rename-to", "create old 0666", "renameat2 old % NOREPLACE", Nothing, true),
];

/// Something wrong with a path.
struct Fault {
    name: &'static str,
    before: &'static str,
    path: &'static str,
    /// What Linux answers, by what the operation wants; None where the fault is no fault for it.
    answer: fn(&Operation) -> Option<&'static str>,
}

const FAULTS: [Fault; 20] = [
    Fault { name: "empty-path", before: "", path: "\"\"", answer: |_| Some("ENOENT") },
    Fault { name: "component-missing", before: "", path: "missing/x", answer: |_| Some("ENOENT") },
    Fault { name: "component-is-file", before: "create f 0644", path: "f/x", answer: |_| Some("ENOTDIR") },
    Fault { name: "component-is-fifo", before: "mkfifo p 0644", path: "p/x", answer: |_| Some("ENOTDIR") },
    Fault { name: "component-loops", before: "symlink loop loop", path: "loop/x", answer: |_| Some("ELOOP") },
    Fault { name: "name-too-long", before: "", path: "{x*256}", answer: |_| Some("ENAMETOOLONG") },
    Fault { name: "path-too-long", before: "", path: "{x/*2048}", answer: |_| Some("ENAMETOOLONG") },
    Fault { name: "component-too-long", before: "", path: "{x*256}/x", answer: |_| Some("ENAMETOOLONG") },
    Fault {
        name: "missing",
        before: "",
        path: "missing",
        answer: |operation| match operation.wants {
            Nothing | Either => None,
            _ => Some("ENOENT"),
        },
    },
    Fault {
        name: "longest-name",
        before: "",
        path: "{x*255}",
        answer: |operation| match operation.wants {
            Nothing | Either => Some("ok"),
            _ => Some("ENOENT"),
        },
    },
    Fault {
        name: "exists-as-file",
        before: "create x 0666",
        path: "x",
        answer: |operation| match operation.wants {
            Nothing => Some("EEXIST"),
            Directory => Some("ENOTDIR"),
            _ => None,
        },
    },
    Fault {
        name: "exists-as-directory",
        before: "mkdir x 0777",
        path: "x",
        answer: |operation| match operation.name {
            "open-create" | "open-write" | "open-truncate" | "truncate" | "unlink" => Some("EISDIR"),
            "link-from" => Some("EPERM"),
            _ if operation.wants == Nothing => Some("EEXIST"),
            _ => None,
        },
    },
    Fault {
        name: "exists-as-dangling-link",
        before: "symlink nowhere x",
        path: "x",
        answer: |operation| match operation.wants {
            Nothing => Some("EEXIST"),
            Target => Some("ENOENT"),
            Either => Some("ok"),
            Directory if operation.changes => Some("ENOTDIR"),
            Directory => Some("ENOENT"),
            Entry => None,
        },
    },
    Fault {
        name: "exists-as-loop",
        before: "symlink x x",
        path: "x",
        answer: |operation| match operation.wants {
            Nothing => Some("EEXIST"),
            Target | Either => Some("ELOOP"),
            Directory if operation.changes => Some("ENOTDIR"),
            Directory => Some("ELOOP"),
            Entry => None,
        },
    },
    Fault {
        name: "slash-after-file",
        before: "create x 0666",
        path: "x/",
        answer: |operation| match (operation.name, operation.wants) {
            ("open-create", _) => Some("EISDIR"),
            (_, Nothing) => None,
            _ => Some("ENOTDIR"),
        },
    },
    Fault {
        name: "search-denied",
        before: "mkdir closed 0700; create closed/x 0666; chmod . 0777; as 65534 65534",
        path: "closed/x",
        answer: |_| Some("EACCES"),
    },
    Fault {
        name: "search-denied-in-between",
        before: "mkdir closed 0600; mkdir closed/d 0777; create closed/d/x 0666; as 65534 65534",
        path: "closed/d/x",
        answer: |_| Some("EACCES"),
    },
    Fault {
        name: "parent-not-writable",
        before: "mkdir owned 0755; create owned/x 0666; mkdir owned/d 0777; as 65534 65534",
        path: "owned/new",
        answer: |operation| match operation.wants {
            // Making a device node takes a capability, and that is looked at in the end.
            Nothing | Either => Some("EACCES"),
            _ => Some("ENOENT"),
        },
    },
    Fault {
        name: "read-only-file-system",
        before: "",
        path: "@ro/f",
        answer: |operation| match (operation.name, operation.wants) {
            ("link-from" | "rename-from", _) => Some("EXDEV"),
            ("rename-to", _) => Some("EXDEV"),
            (_, Nothing) => Some("EEXIST"),
            (_, Directory) if operation.changes => Some("EROFS"),
            (_, Directory) => Some("ENOTDIR"),
            _ if operation.changes => Some("EROFS"),
            _ => None,
        },
    },
    Fault {
        name: "read-only-file-system-new",
        before: "",
        path: "@ro/new",
        answer: |operation| match (operation.name, operation.wants) {
            ("rename-to", _) => Some("EXDEV"),
            (_, Nothing | Either) => Some("EROFS"),
            ("link-from", _) => Some("ENOENT"),
            ("rename-from", _) => Some("EXDEV"),
            ("unlink" | "rmdir" | "unlinkat-directory", _) => Some("EROFS"),
            _ => Some("ENOENT"),
        },
    },
];

/// Every operation by every fault that is one for it.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for operation in &OPERATIONS {
        for fault in &FAULTS {
            let Some(answer) = (fault.answer)(operation) else { continue };
            // A directory where the fault is not its kind; the operation's own preparation comes before an identity.
            let call = operation.call.replace('%', fault.path);
            let steps = format!("{}; {}; ? {call}", operation.before, fault.before);
            let name = format!("{}/{}", operation.name, fault.name);
            cases.push(Case { name, steps, expected: Some(answer.to_owned()) });
        }
    }
    cases
}
