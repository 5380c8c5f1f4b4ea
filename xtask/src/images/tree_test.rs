use std::path::Path;

use super::tree::{Kind, Tree, place};

#[test]
fn what_a_package_puts_into_bin_or_lib_lands_below_usr() {
    let placed = |path: &str| place(Path::new(path)).expect("a path of a package");

    assert_eq!(placed("./bin/busybox"), "usr/bin/busybox");
    assert_eq!(placed("./lib64/ld-linux-x86-64.so.2"), "usr/lib64/ld-linux-x86-64.so.2");
    assert_eq!(placed("./usr/bin/redis-cli"), "usr/bin/redis-cli");
    assert_eq!(placed("./"), "");
}

#[test]
fn a_path_that_leaves_the_tree_is_refused() {
    assert!(place(Path::new("./usr/../../etc/passwd")).is_err());
}

#[test]
fn a_file_comes_with_its_parents_and_goes_with_them() {
    let mut tree = Tree::new();

    tree.add_file("/srv/data/file", 0o644, (0, 0), Vec::new());

    let path = |name: &str| tree.nodes().find(|(path, _)| *path == name).map(|(_, node)| &node.kind);
    assert!(matches!(path("srv/data"), Some(Kind::Directory)));
    tree.remove("/srv", &[]);
    assert!(tree.nodes().all(|(path, _)| !path.starts_with("srv")));
}

#[test]
fn what_is_kept_survives_with_the_way_to_it() {
    let mut tree = Tree::layer();
    for name in ["share/doc/a", "share/doc/b", "share/docs"] {
        tree.add_file(name, 0o644, (0, 0), Vec::new());
    }

    tree.remove("/share/doc", &["/share/doc/b".to_owned()]);

    let paths: Vec<&str> = tree.nodes().map(|(path, _)| path).collect();
    assert_eq!(paths, ["share", "share/doc", "share/doc/b", "share/docs"]);
}

#[test]
fn parents_are_written_before_their_children() {
    let mut tree = Tree::new();
    tree.add_file("/usr/lib/a", 0o644, (0, 0), Vec::new());

    let paths: Vec<&str> = tree.nodes().map(|(path, _)| path).collect();

    for path in &paths {
        let parent = path.rsplit_once('/').map(|(parent, _)| parent);
        let earlier = paths.iter().take_while(|other| other != &path);
        assert!(parent.is_none_or(|parent| earlier.clone().any(|other| *other == parent)), "{path}");
    }
}
