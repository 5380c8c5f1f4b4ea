//! The image list grammar, case by case.

use clap::CommandFactory;

use super::Cli;
use super::apps::{AppList, Grammar};

fn parse(tokens: &[&str]) -> Result<AppList, String> {
    let mut root = Cli::command();
    root.build();
    let grammar = Grammar {
        command: root.find_subcommand("run").unwrap(),
        takes_app_flag: &|_| true,
        app_arguments: true,
        operands: 0,
    };
    grammar.parse(&tokens.iter().map(|token| (*token).to_owned()).collect::<Vec<_>>())
}

fn summary(list: &AppList) -> Vec<String> {
    list.apps.iter().map(|app| format!("{} {:?}", app.image, app.arguments)).collect()
}

#[test]
fn images_take_arguments_between_two_and_three_dashes() {
    let cases: [(&[&str], &[&str]); 7] = [
        (&["a"], &["a []"]),
        (&["a", "b"], &["a []", "b []"]),
        (&["a", "--", "x", "y"], &["a [\"x\", \"y\"]"]),
        (&["a", "--", "x", "---", "b"], &["a [\"x\"]", "b []"]),
        (
            &["a", "--", "x", "--", "--net=none", "---", "b", "--", "y"],
            &["a [\"x\", \"--\", \"--net=none\"]", "b [\"y\"]"],
        ),
        (&["a", "---", "b"], &["a []", "b []"]),
        (&["", "a", "--", "", "x", ""], &["a [\"x\"]"]),
    ];

    for (tokens, expected) in cases {
        assert_eq!(summary(&parse(tokens).unwrap()), expected, "{tokens:?}");
    }
}

#[test]
fn flags_belong_to_the_image_before_them_and_pod_flags_to_the_pod() {
    let list = parse(&[
        "--mount",
        "volume=v,target=/all",
        "a",
        "--exec",
        "/bin/a",
        "--net",
        "--name=first",
        "--hostname",
        "h",
        "b",
        "--exec=-x",
        "--mount=volume=v,target=/b",
        "--debug",
    ])
    .unwrap();

    assert_eq!(list.pod_tokens, ["--net", "--hostname=h", "--debug"]);
    assert_eq!(list.mounts.len(), 1);
    assert_eq!(list.apps[0].flags.exec, ["/bin/a"]);
    assert_eq!(list.apps[0].flags.name.as_ref().unwrap().as_str(), "first");
    assert_eq!(list.apps[1].flags.exec, ["-x"]);
    assert_eq!(list.apps[1].flags.mount[0].path, "/b");
}

#[test]
fn a_flag_with_an_optional_value_leaves_the_next_token_alone() {
    let list = parse(&["a", "--no-overlay", "b", "--net", "c"]).unwrap();

    assert_eq!(summary(&list), ["a []", "b []", "c []"]);
    assert_eq!(list.pod_tokens, ["--no-overlay", "--net"]);
}

#[test]
fn readonly_rootfs_takes_its_value_from_the_next_token() {
    let list = parse(&["a", "--readonly-rootfs", "true", "b"]).unwrap();

    assert_eq!(summary(&list), ["a []", "b []"]);
    assert_eq!(list.apps[0].flags.readonly_rootfs, Some(true));
}

#[test]
fn later_plain_flags_win_and_lists_accumulate() {
    let list =
        parse(&["a", "--user=1", "--user=2", "--supplementary-gids=1,2", "--supplementary-gids=3"]).unwrap();

    assert_eq!(list.apps[0].flags.user.as_deref(), Some("2"));
    assert_eq!(list.apps[0].flags.supplementary_gids, [1, 2, 3]);
}

#[test]
fn mistakes_are_named() {
    let cases: [(&[&str], &str); 10] = [
        (&["--", "x"], "an image is required before any app arguments"),
        (&["a", "--", "x", "---", "--", "y"], "only one set of app arguments allowed per image"),
        (&["--exec", "/bin/a", "a"], "--exec must follow an image"),
        (&["a", "--no-such-flag"], "unknown flag: --no-such-flag"),
        (&["a", "-x"], "unknown shorthand flag: 'x' in -x"),
        (&["a", "--exec"], "flag needs an argument: --exec"),
        (&["a", "--exec=1", "--exec=2"], "--exec specified multiple times for the same image"),
        (&["a", "--signature=1", "--signature=2"], "--signature specified multiple times for the same image"),
        (
            &["a", "--memory=16m"],
            "invalid argument \"16m\" for --memory: memory limit of 1 bytes too low. Try a reasonable value, such as --memory=16M",
        ),
        (
            &["a", "--environment=X"],
            "invalid argument \"X\" for --environment: invalid format of --environment flag \"X\"",
        ),
    ];

    for (tokens, expected) in cases {
        assert_eq!(parse(tokens).unwrap_err(), expected, "{tokens:?}");
    }
}

#[test]
fn a_command_without_app_arguments_says_so() {
    let mut root = Cli::command();
    root.build();
    let grammar = Grammar {
        command: root.find_subcommand("run").unwrap(),
        takes_app_flag: &|flag| flag == "signature",
        app_arguments: false,
        operands: 0,
    };
    let parse =
        |tokens: &[&str]| grammar.parse(&tokens.iter().map(|token| (*token).to_owned()).collect::<Vec<_>>());

    assert_eq!(parse(&["a", "--", "x"]).unwrap_err(), "app arguments unsupported");
    assert_eq!(parse(&["a", "--exec=x"]).unwrap_err(), "unknown flag: --exec");
    assert_eq!(parse(&["a", "--signature=x"]).unwrap().apps[0].flags.signature, ["x"]);
}
