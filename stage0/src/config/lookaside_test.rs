use std::path::Path;

use super::Configuration;

fn write(root: &Path, name: &str, fields: &str) {
    std::fs::create_dir_all(root.join("lookaside.d")).unwrap();
    let text = format!(r#"{{"rktKind":"lookaside","rktVersion":"v1",{fields}}}"#);
    std::fs::write(root.join("lookaside.d").join(name), text).unwrap();
}

#[test]
fn location_is_found_by_registry_and_a_later_directory_wins() {
    let (system, local) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let fields = r#""registries":["a.com:5000","b.com"],"location":"https://sigs.example.com/x/""#;
    write(system.path(), "a.json", fields);
    write(local.path(), "b.json", r#""registries":["b.com"],"location":"file:///srv/sigs""#);

    let lookaside = Configuration::in_directories(&[system.path(), local.path()]).lookaside().unwrap();

    let location = |registry| lookaside.location(registry).map(url::Url::as_str);
    assert_eq!(location("a.com:5000"), Some("https://sigs.example.com/x/"));
    assert_eq!(location("b.com"), Some("file:///srv/sigs"));
    assert_eq!(location("a.com"), None);
}

#[test]
fn locations_that_vouch_for_nothing_are_errors() {
    let cases = [
        r#""registries":[],"location":"https://s.example.com""#,
        r#""registries":["a.com"]"#,
        r#""registries":["a.com"],"location":"http://s.example.com""#,
        r#""registries":["a.com"],"location":"/srv/sigs""#,
        r#""registries":["a.com"],"location":"file://relative""#,
        r#""registries":["a.com"],"location":"https://s.example.com/?q=1""#,
        r#""registries":["a.com","a.com"],"location":"https://s.example.com""#,
    ];
    for case in cases {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), "a.json", case);
        assert!(Configuration::in_directories(&[directory.path()]).lookaside().is_err(), "{case}");
    }
}
