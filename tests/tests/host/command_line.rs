//! The command line itself: exit codes and messages of wrong use.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;

use rkt_tests::command::{self, limit};
use rkt_tests::dist;
use rkt_tests::rkt::{RKT_FAILED, TestRkt};

use crate::publisher;

#[test]
fn rkt_without_a_command_prints_help_and_ends_with_2() {
    let rkt = TestRkt::new();

    let output = rkt.run([] as [&str; 0]).expect_code(2);

    assert!(format!("{}{}", output.out(), output.err()).contains("COMMANDS"), "{output:?}");
}

#[test]
fn an_unknown_command_is_refused_by_name() {
    let output = TestRkt::new().run(["frobnicate"]);

    output.expect_code(RKT_FAILED).expect_err("frobnicate");
}

#[test]
fn an_unknown_flag_is_refused_by_name() {
    let output = TestRkt::new().run(["run", "--frobnicate", "./app.aci"]);

    output.expect_code(RKT_FAILED).expect_err("--frobnicate");
}

#[test]
fn every_misuse_is_refused_with_a_message_of_its_own() {
    let rkt = TestRkt::new();
    let cases = [
        ("lsit", "unknown command \"lsit\" for \"rkt\"\n\nDid you mean this?\n\tlist\n"),
        ("r", "unknown command \"r\" for \"rkt\""),
        ("image frobnicate", "unknown command \"frobnicate\" for \"rkt image\""),
        ("image ex", "Did you mean this?\n\texport\n\textract\n"),
        ("--frobnicate", "unknown flag: --frobnicate"),
        ("list -x", "unknown shorthand flag: 'x' in -x"),
        ("list --format", "flag needs an argument: --format"),
        ("list --format=xml", "must be one of \"json\", \"json-pretty\""),
        ("list --full=maybe", "invalid argument \"maybe\" for --full"),
        ("list --full true", "unexpected argument \"true\""),
        ("--dir= list", "\"\" is not a valid directory"),
        ("fetch", "must provide at least one image"),
        ("fetch x -- y", "app arguments unsupported"),
        ("prepare", "must provide at least one image or specify the pod manifest"),
        ("run x -- a --- -- b", "only one set of app arguments allowed per image"),
        ("run --name=x", "--name must follow an image"),
        ("run-prepared", "must provide exactly one UUID"),
        ("status", "must provide exactly one UUID or --uuid-file"),
        ("stop", "must provide at least one UUID or --uuid-file"),
        ("rm", "must provide at least one UUID or --uuid-file"),
        ("enter", "missing argument UUID"),
        ("image rm", "must provide at least one image"),
        ("image verify", "must provide at least one image"),
        ("image cat-manifest", "missing argument IMAGE"),
        ("image export x", "missing argument OUTPUT_ACI_FILE"),
        ("image extract x", "missing argument OUTPUT_DIR"),
        ("image render x", "missing argument OUTPUT_DIR"),
        ("image list x", "unexpected argument \"x\""),
        ("list x", "unexpected argument \"x\""),
        ("version x", "unexpected argument \"x\""),
        ("trust key.asc", "aborting due to implicit unbounded trust"),
    ];

    for (line, message) in cases {
        let output = rkt.run(line.split(' ')).expect_code(RKT_FAILED);
        assert_eq!(output.out(), "", "{line}");
        assert!(output.err().contains(message), "`rkt {line}` did not say {message:?}: {output:?}");
    }
}

#[test]
fn each_command_has_a_page_of_the_same_sections() {
    let rkt = TestRkt::new();
    let help = rkt.run(["help"]).expect_code(0).out();
    let (_, commands) = help.split_once("COMMANDS:\n").expect("a list of commands");
    let commands: Vec<&str> =
        commands.lines().map_while(|line| line.strip_prefix('\t')?.split('\t').next()).collect();
    assert!(commands.contains(&"run") && commands.contains(&"image list"), "{commands:?}");

    for command in commands {
        let words: Vec<&str> = command.split(' ').collect();
        let page = rkt.run([&["help"], &words[..]].concat()).expect_code(0).out();
        let asked = rkt.run([&words[..], &["--help"]].concat()).expect_code(0).out();

        assert_eq!(page, asked, "{command}");
        for section in ["NAME:\n\t", "USAGE:\n\trkt ", "GLOBAL OPTIONS:\n       --debug[=false]"] {
            assert!(page.contains(section), "no {section:?} in the page of {command}: {page}");
        }
        assert!(!page.contains("--store-only") && !page.contains("--cap-retain"), "deprecated: {page}");
    }
}

#[test]
fn run_without_an_image_is_refused() {
    let output = TestRkt::new().run(["run"]);

    output.expect_code(RKT_FAILED).expect_err("must provide at least one image or specify the pod manifest");
}

#[test]
fn a_mount_of_an_undeclared_volume_is_refused() {
    let rkt = publisher::rkt();
    publisher::image(&rkt, "app.aci");
    let arguments = ["./app.aci", "--mount=volume=nothing,target=/data"];

    let output = rkt.run(publisher::run_arguments(&arguments));

    output.expect_code(RKT_FAILED).expect_err(r#"dangling mount point "/data": volume "nothing" not found"#);
}

#[test]
fn run_as_an_ordinary_user_is_refused() {
    // A copy, because the checkout may lie in a home directory that nobody else may enter.
    let place = tempfile::tempdir_in("/tmp").expect("a directory");
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    let rkt = place.path().join("rkt");
    std::fs::copy(dist::file("rkt"), &rkt).expect("copying rkt");
    let mut command = std::process::Command::new(&rkt);
    command.args(["run", "./app.aci"]).uid(65534).gid(65534).current_dir("/");

    let output = command::run(&mut command, limit(60));

    output.expect_code(RKT_FAILED).expect_err("cannot run as unprivileged user");
}

#[test]
fn fetch_works_where_there_are_no_devices() {
    let rkt = TestRkt::new();
    publisher::image(&rkt, "app.aci");
    let fetch = rkt.command(["--insecure-options=image", "fetch", "./app.aci"]);
    let mut command = command::with_an_empty("/dev", &fetch);

    let output = command::run(&mut command, limit(60));

    output.expect_code(0).expect_out("sha512-");
}

#[test]
fn version_names_the_workspace_version_and_the_specification() {
    let output = TestRkt::new().run(["version"]).expect_code(0);

    output
        .expect_out(&format!("rkt Version: {}", env!("CARGO_PKG_VERSION")))
        .expect_out("appc Version: 0.8.11");
}

#[test]
fn help_goes_to_stdout() {
    let output = TestRkt::new().run(["help"]).expect_code(0);

    output.expect_out("COMMANDS").expect_out("run").expect_out("fetch");
}

#[test]
fn a_command_that_only_has_commands_lists_them() {
    let rkt = TestRkt::new();

    let output = rkt.run(["app"]).expect_code(0);

    output.expect_out("SUBCOMMANDS").expect_out("sandbox").expect_out("Add an app to a pod");
}

#[test]
fn list_without_pods_prints_nothing_and_succeeds() {
    let output = TestRkt::new().run(["list", "--no-legend"]).expect_code(0);

    assert_eq!(output.out(), "");
}

#[test]
fn gc_without_pods_succeeds() {
    TestRkt::new().run(["gc"]).expect_code(0);
}
