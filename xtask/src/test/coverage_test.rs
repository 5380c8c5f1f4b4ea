//! What counts as the use of a command, a flag or a value.

use serde_json::json;

use super::{CommandLine, Recorded, Table};

fn command_line() -> CommandLine {
    let flag = |name: &str, takes_next_word: bool, words: &[&str]| json!({ "name": name, "short": null, "takes_next_word": takes_next_word, "words": words });
    let command = |path: &[&str], takes_images: bool, takes_command: bool, flags| json!({ "path": path, "takes_images": takes_images, "takes_command": takes_command, "flags": flags });
    serde_json::from_value(json!({
        "global_flags": [
            { "name": "help", "short": "h", "takes_next_word": false, "words": [] },
            flag("insecure-options", true, &["none", "image", "tls"]),
            flag("dir", true, &[]),
        ],
        "commands": [
            command(&["run"], true, false, json!([flag("net", false, &[]), flag("name", true, &[])])),
            command(&["rm"], false, false, json!([])),
            command(&["enter"], false, true, json!([flag("app", true, &[])])),
            command(&["image"], false, false, json!([])),
            command(&["image", "rm"], false, false, json!([])),
        ],
    }))
    .unwrap()
}

fn used(line: &str) -> Vec<String> {
    let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
    command_line().used(&arguments).iter().map(ToString::to_string).collect()
}

#[test]
fn a_command_is_found_by_its_path_and_by_prefixes_of_it() {
    assert_eq!(used("image rm x"), ["rkt image rm"]);
    assert_eq!(used("im r x"), ["rkt image rm"]);
    assert_eq!(used("rm image"), ["rkt rm"]);
    assert!(used("r x").is_empty(), "run and rm both begin so");
}

#[test]
fn flags_belong_to_their_command_and_global_ones_to_all() {
    assert_eq!(used("--dir image run --net a"), ["rkt --dir", "rkt run", "rkt run --net"]);
    assert_eq!(used("rm --net a -h"), ["rkt --help", "rkt rm"]);
}

#[test]
fn each_value_of_a_list_counts() {
    assert_eq!(
        used("--insecure-options=Image,tls rm"),
        ["rkt --insecure-options", "rkt --insecure-options=image", "rkt --insecure-options=tls", "rkt rm"]
    );
    assert_eq!(used("rm --insecure-options none").len(), 3);
}

#[test]
fn flags_between_images_count_and_arguments_of_apps_do_not() {
    assert_eq!(used("run a -- --net --- b --name=x"), ["rkt run", "rkt run --name"]);
    assert_eq!(used("run a -- --net"), ["rkt run"]);
}

#[test]
fn the_command_that_is_run_in_an_app_is_not_rkts() {
    assert_eq!(used("enter --app=a uuid ls --app"), ["rkt enter", "rkt enter --app"]);
    assert_eq!(used("enter uuid ls --app"), ["rkt enter"]);
}

#[test]
fn what_no_test_uses_is_missing() {
    let tests = [Recorded {
        test: "host::a".to_owned(),
        commands: vec![vec!["run".to_owned(), "--net".to_owned()], vec!["enter".to_owned()]],
    }];

    let table = Table::of(&command_line(), &tests);

    let missing: Vec<String> = table.missing().iter().map(ToString::to_string).collect();
    assert!(missing.contains(&"rkt run --name".to_owned()) && missing.contains(&"rkt image rm".to_owned()));
    assert!(!missing.contains(&"rkt run --net".to_owned()) && !missing.contains(&"rkt enter".to_owned()));
    assert!(table.markdown().contains("| `rkt run --net` | host::a |\n"));
}
