use appc::App;

use super::environment::*;

fn complete_of(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut app = App::default();
    for (name, value) in variables {
        app.set_env(name, value);
    }
    complete(&"redis".parse().unwrap(), &app, None, None)
}

fn value<'a>(environment: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    environment.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_str()).collect()
}

#[test]
fn app_learns_its_name_whatever_the_manifest_says() {
    let environment = complete_of(&[("AC_APP_NAME", "other")]);

    assert_eq!(value(&environment, "AC_APP_NAME"), ["redis"]);
}

#[test]
fn app_finds_the_metadata_service_at_the_pods_loopback() {
    let mut app = App::default();
    app.set_env("AC_METADATA_URL", "http://elsewhere");

    let environment = complete(&"redis".parse().unwrap(), &app, None, Some("0123"));

    assert_eq!(value(&environment, "AC_METADATA_URL"), ["http://127.0.0.1:18112/0123"]);
    assert_eq!(value(&complete_of(&[]), "AC_METADATA_URL"), [""; 0]);
}

#[test]
fn defaults_fill_gaps_only() {
    let environment = complete_of(&[("PATH", "/opt/bin"), ("HOME", "")]);

    assert_eq!(value(&environment, "PATH"), ["/opt/bin"]);
    assert_eq!(value(&environment, "HOME"), [""]);
    assert_eq!(value(&environment, "SHELL"), ["/bin/sh"]);
    assert_eq!(value(&environment, "USER"), ["root"]);
    assert_eq!(value(&environment, "LOGNAME"), ["root"]);
}

#[test]
fn manifest_order_is_kept() {
    let environment = complete_of(&[("ZED", "1"), ("ALPHA", "2")]);

    let names: Vec<_> = environment.iter().take(2).map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["ZED", "ALPHA"]);
}

#[test]
fn file_has_one_unquoted_variable_a_line() {
    let environment = [("A".to_owned(), "x y\"z".to_owned()), ("B".to_owned(), String::new())];

    assert_eq!(file(&environment), "A=x y\"z\nB=\n");
}
