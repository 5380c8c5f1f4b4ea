use super::cgroup::path;

#[test]
fn path_is_that_of_the_one_hierarchy() {
    assert_eq!(path("0::/machine.slice/web.service\n"), Some("machine.slice/web.service"));
}

#[test]
fn path_is_systemds_where_there_are_several_hierarchies() {
    let text = "9:name=systemd:/user.slice/session-1.scope\n8:memory:/elsewhere\n0::/\n";

    assert_eq!(path(text), Some("user.slice/session-1.scope"));
}

#[test]
fn names_may_hold_colons() {
    assert_eq!(path("0::/a:b/c\n"), Some("a:b/c"));
}

#[test]
fn nothing_is_no_path() {
    assert_eq!(path(""), None);
    assert_eq!(path("garbage"), None);
}
