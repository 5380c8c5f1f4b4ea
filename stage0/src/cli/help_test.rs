//! Commands below commands: names, pages, and where a usage error belongs.

use clap::Parser;

use super::{Cli, definition, help, usage};

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

#[test]
fn commands_are_found_by_unique_prefixes_at_both_levels() {
    let path = |line: &str| Cli::try_parse_from(words(line)).map(|cli| cli.command.unwrap().path());

    assert_eq!(path("rkt im li").unwrap(), ["image", "list"]);
    assert_eq!(path("rkt image cat example.com/a").unwrap(), ["image", "cat-manifest"]);
    assert_eq!(path("rkt image").unwrap(), ["image"]);
    assert!(path("rkt image frobnicate").is_err());
    assert!(path("rkt r a").is_err(), "rm and run both begin so");
}

#[test]
fn global_flags_count_wherever_they_stand() {
    for line in ["rkt --debug image list", "rkt image --debug list", "rkt image list --debug"] {
        assert!(Cli::try_parse_from(words(line)).unwrap().globals.debug, "{line}");
    }
}

#[test]
fn the_page_of_the_program_lists_nested_commands_and_no_hidden_ones() {
    let page = help::page(&definition(), &[] as &[&str]);

    assert!(page.contains("\timage list\t") && page.contains("\timage cat-manifest\t"), "{page}");
    assert!(!page.contains("\timage fetch") && !page.contains("\timage\t"), "{page}");
}

#[test]
fn the_page_of_a_group_lists_its_commands() {
    let page = help::page(&definition(), &["image"]);

    assert!(page.contains("SUBCOMMANDS:\n\tcat-manifest\t"), "{page}");
    assert!(page.contains("USAGE:\n\trkt image [command]\n"), "{page}");
}

#[test]
fn the_page_of_a_nested_command_has_its_own_flags_apart_from_the_global_ones() {
    let page = help::page(&definition(), &["image", "list"]);

    let (own, global) = page.split_once("GLOBAL OPTIONS:").unwrap();
    assert!(own.contains("--no-legend") && !own.contains("--debug"), "{page}");
    assert!(global.contains("--debug"), "{page}");
    assert!(own.contains("rkt image list"), "{page}");
}

#[test]
fn a_usage_error_belongs_to_the_innermost_command_that_is_known() {
    let root = definition();
    let path = |line: &str| usage::path(&root, &words(line)).join(" ");

    assert_eq!(path("rkt --dir list image list --frob"), "image list");
    assert_eq!(path("rkt --dir=list image frob"), "image");
    assert_eq!(path("rkt frob"), "");
    assert_eq!(path("rkt image rm --debug list"), "image rm");
}

#[test]
fn the_beginning_of_several_commands_names_these_and_no_hidden_ones() {
    let root = definition();
    let said = |line: &str| {
        let error = Cli::try_parse_from(words(line)).unwrap_err();
        usage::unknown_command(&error, help::find(&root, &usage::path(&root, &words(line))), "rkt image")
    };

    assert_eq!(
        said("rkt image e"),
        "unknown command \"e\" for \"rkt image\"\n\nDid you mean this?\n\texport\n\textract\n"
    );
    assert_eq!(said("rkt image xyzzy"), "unknown command \"xyzzy\" for \"rkt image\"");
    assert!(!said("rkt image fetsh").contains("fetch"));
}
