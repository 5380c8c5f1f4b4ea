use std::path::Path;

use guest_api::{AppId, AppSpec};

use super::root_dir::RootDir;
use super::users::{number_in, resolve};

const PASSWD: &str = "root:x:0:0::/root:/bin/sh\nredis:x:104:107::/var/lib/redis:/bin/false\nbroken:x:\n";
const GROUP: &str = "root:x:0:\nredis:x:107:\n";

fn image() -> (tempfile::TempDir, RootDir) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("etc")).unwrap();
    std::fs::write(directory.path().join("etc/passwd"), PASSWD).unwrap();
    std::fs::write(directory.path().join("etc/group"), GROUP).unwrap();
    let root = RootDir::open(directory.path()).unwrap();
    (directory, root)
}

fn app(user: &str, group: &str) -> AppSpec {
    AppSpec {
        id: AppId(0),
        name: "app".to_owned(),
        rootfs: "apps/app".to_owned(),
        read_only_rootfs: false,
        exec: vec!["/app".to_owned()],
        environment: Vec::new(),
        working_directory: "/".to_owned(),
        user: user.to_owned(),
        group: group.to_owned(),
        group_falls_back_to_user: false,
        supplementary_gids: vec![7, 8],
        mounts: Vec::new(),
        files: Vec::new(),
        stdio: guest_api::Stdio::LOG,
        isolation: guest_api::Isolation::NONE,
        lifecycle: guest_api::Lifecycle::default(),
        sockets: Vec::new(),
    }
}

#[test]
fn names_are_looked_up_in_the_apps_own_files() {
    let (_directory, root) = image();

    let ids = resolve(&root, &app("redis", "redis")).unwrap();

    assert_eq!((ids.uid, ids.gid), (104, 107));
    assert_eq!(ids.supplementary_gids, [7, 8]);
}

#[test]
fn root_and_numbers_need_no_files() {
    let directory = tempfile::tempdir().unwrap();
    let root = RootDir::open(directory.path()).unwrap();

    let ids = resolve(&root, &app("1000", "root")).unwrap();

    assert_eq!((ids.uid, ids.gid), (1000, 0));
}

#[test]
fn path_means_whoever_owns_it() {
    use std::os::unix::fs::MetadataExt;
    let (directory, root) = image();
    let owner = std::fs::metadata(directory.path().join("etc/passwd")).unwrap();

    let ids = resolve(&root, &app("/etc/passwd", "/etc/passwd")).unwrap();

    assert_eq!((ids.uid, ids.gid), (owner.uid(), owner.gid()));
}

#[test]
fn unknown_user_is_named_with_the_file_that_lacks_it() {
    let (_directory, root) = image();

    let error = resolve(&root, &app("nobody", "root")).unwrap_err();

    assert_eq!(
        error.to_string(),
        "failed to configure user \"nobody\": there is no user of this name in /etc/passwd"
    );
}

#[test]
fn image_without_a_group_file_is_said_to_have_none() {
    let (directory, root) = image();
    std::fs::remove_file(directory.path().join("etc/group")).unwrap();

    let error = resolve(&root, &app("redis", "redis")).unwrap_err();

    assert_eq!(error.to_string(), "failed to configure group \"redis\": the image has no /etc/group");
}

#[test]
fn unknown_group_becomes_the_users_number_only_where_the_host_says_so() {
    let (_directory, root) = image();
    let mut spec = app("redis", "gone");

    assert!(resolve(&root, &spec).is_err());
    spec.group_falls_back_to_user = true;
    assert_eq!(resolve(&root, &spec).unwrap().gid, 104);
}

#[test]
fn passwd_that_is_a_link_out_of_the_image_is_resolved_inside_it() {
    let (directory, root) = image();
    std::fs::rename(directory.path().join("etc/passwd"), directory.path().join("passwd")).unwrap();
    std::os::unix::fs::symlink("/../../passwd", directory.path().join("etc/passwd")).unwrap();

    let ids = resolve(&root, &app("redis", "root")).unwrap();

    assert_eq!(ids.uid, 104);
    assert!(Path::new("/etc/passwd").exists());
}

#[test]
fn lines_that_are_no_entries_are_passed_over() {
    for name in ["broken", "", "x", "nobody"] {
        assert_eq!(number_in(PASSWD.as_bytes(), name), None, "{name:?}");
    }
    assert_eq!(number_in(b"minus:x:4294967295:\nplus:x:+5:\n", "minus"), None);
    assert_eq!(number_in(b"minus:x:4294967295:\nplus:x:+5:\n", "plus"), None);
}

#[test]
fn entry_that_a_huge_file_is_cut_in_is_not_half_believed() {
    let (directory, root) = image();
    let entry = b"\nfar:x:1234567:1::/:/bin/sh\n";
    let mut content = b"near:x:7:7::/:/bin/sh\n".to_vec();
    // The limit falls behind the first digits.
    content.resize(1024 * 1024 - 10, b'#');
    content.extend_from_slice(entry);
    std::fs::write(directory.path().join("etc/passwd"), &content).unwrap();

    assert_eq!(resolve(&root, &app("near", "0")).unwrap().uid, 7);
    let error = resolve(&root, &app("far", "0")).unwrap_err().to_string();
    assert!(error.contains("in the first MiB of /etc/passwd"), "{error}");
}
