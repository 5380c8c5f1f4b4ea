//! What of the definition users are shown.

use clap::Command;

use super::definition::{definition, published, takes_next_word};

fn command<'c>(root: &'c Command, path: &[&str]) -> &'c Command {
    path.iter().fold(root, |command, name| command.find_subcommand(name).unwrap())
}

fn has(command: &Command, flag: &str) -> bool {
    command.get_arguments().any(|arg| arg.get_long() == Some(flag))
}

#[test]
fn commands_that_take_images_have_the_flags_of_apps() {
    let root = definition();

    for name in ["run", "prepare"] {
        assert!(has(command(&root, &[name]), "working-dir"), "{name}");
    }
    assert!(has(command(&root, &["fetch"]), "signature") && !has(command(&root, &["fetch"]), "exec"));
    assert!(!has(command(&root, &["list"]), "signature"));
}

#[test]
fn what_is_hidden_is_in_the_definition_and_not_in_what_users_are_shown() {
    let (all, shown) = (definition(), published());

    assert!(has(command(&all, &["run"]), "store-only") && !has(command(&shown, &["run"]), "store-only"));
    assert!(command(&all, &["image"]).find_subcommand("fetch").is_some());
    assert!(command(&shown, &["image"]).find_subcommand("fetch").is_none());
}

#[test]
fn a_flag_whose_value_may_be_left_out_does_not_take_the_next_word() {
    let shown = published();
    let flag = |name: &str| {
        command(&shown, &["run"]).get_arguments().find(|arg| arg.get_long() == Some(name)).unwrap()
    };

    assert!(!takes_next_word(flag("no-overlay")) && !takes_next_word(flag("net")));
    assert!(takes_next_word(flag("hostname")) && takes_next_word(flag("insecure-options")));
}
