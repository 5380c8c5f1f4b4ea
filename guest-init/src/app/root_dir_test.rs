use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::root_dir::{Kind, RootDir};

fn root() -> (tempfile::TempDir, RootDir) {
    let directory = tempfile::tempdir().unwrap();
    let root = RootDir::open(directory.path()).unwrap();
    (directory, root)
}

#[test]
fn absolute_and_climbing_paths_stay_inside() {
    let (directory, root) = root();
    std::fs::write(directory.path().join("file"), "inside").unwrap();
    symlink("/file", directory.path().join("absolute")).unwrap();
    symlink("../../../../file", directory.path().join("climbing")).unwrap();

    for path in ["/file", "/../../file", "absolute", "climbing"] {
        assert_eq!(root.read(Path::new(path), 100).unwrap(), b"inside", "{path}");
    }
}

#[test]
fn read_stops_at_its_limit() {
    let (directory, root) = root();
    std::fs::write(directory.path().join("file"), "0123456789").unwrap();

    assert_eq!(root.read(Path::new("file"), 4).unwrap(), b"0123");
}

#[test]
fn read_refuses_a_named_pipe_instead_of_waiting_for_its_writer() {
    let (directory, root) = root();
    nix::unistd::mkfifo(&directory.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();

    assert_eq!(root.read(Path::new("pipe"), 4).unwrap_err(), Errno::INVAL);
}

#[test]
fn ensure_creates_parents_and_the_end_in_its_kind() {
    let (directory, root) = root();

    root.ensure(Path::new("/a/b/dir"), Kind::Directory).unwrap();
    root.ensure(Path::new("/a/c/file"), Kind::File).unwrap();

    assert!(directory.path().join("a/b/dir").is_dir());
    assert!(directory.path().join("a/c/file").is_file());
}

#[test]
fn ensure_leaves_what_is_there_alone() {
    let (directory, root) = root();
    std::fs::write(directory.path().join("file"), "kept").unwrap();

    root.ensure(Path::new("/file"), Kind::File).unwrap();

    assert_eq!(std::fs::read(directory.path().join("file")).unwrap(), b"kept");
}

#[test]
fn ensure_gives_a_dangling_link_what_it_points_to_inside_the_root() {
    let (directory, root) = root();
    std::fs::create_dir(directory.path().join("etc")).unwrap();
    symlink("../run/../run/resolve/stub.conf", directory.path().join("etc/resolv.conf")).unwrap();
    symlink("/../../var/run", directory.path().join("run")).unwrap();

    root.ensure(Path::new("/etc/resolv.conf"), Kind::File).unwrap();

    assert!(directory.path().join("var/run/resolve/stub.conf").is_file());
}

#[test]
fn ensure_never_creates_anything_outside() {
    let outer = tempfile::tempdir().unwrap();
    let inner = outer.path().join("inner");
    std::fs::create_dir(&inner).unwrap();
    symlink("../..", inner.join("up")).unwrap();
    let root = RootDir::open(&inner).unwrap();

    root.ensure(Path::new("/../up/../escaped/x"), Kind::Directory).unwrap();

    assert!(inner.join("escaped/x").is_dir());
    assert_eq!(std::fs::read_dir(outer.path()).unwrap().count(), 1);
}

#[test]
fn ensure_gives_up_on_a_loop_of_links() {
    let (directory, root) = root();
    symlink("b", directory.path().join("a")).unwrap();
    symlink("a", directory.path().join("b")).unwrap();

    assert_eq!(root.ensure(Path::new("/a/x"), Kind::Directory).unwrap_err(), Errno::LOOP);
}

#[test]
fn ensure_reports_a_file_where_a_directory_is_needed() {
    let (directory, root) = root();
    std::fs::write(directory.path().join("file"), "").unwrap();

    assert_eq!(root.ensure(Path::new("/file/x"), Kind::Directory).unwrap_err(), Errno::NOTDIR);
}

#[test]
fn lstat_sees_the_link_and_stat_what_it_leads_to() {
    let (directory, root) = root();
    symlink("nowhere", directory.path().join("link")).unwrap();

    assert!(root.lstat(Path::new("/link")).is_ok());
    assert_eq!(root.stat(Path::new("/link")).unwrap_err(), Errno::NOENT);
    assert!(root.open_at(Path::new("/"), OFlags::PATH).is_ok());
}
