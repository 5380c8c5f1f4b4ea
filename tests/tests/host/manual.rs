//! The manual pages of `target/dist/man`: one for each command, and each of them well-formed.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use rkt_tests::dist;
use rkt_tests::rkt::TestRkt;

/// The names of the pages.
fn pages() -> BTreeSet<String> {
    let entries = fs::read_dir(dist::file("man")).expect("listing");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn each_command_that_help_lists_has_a_page_and_so_have_groups() {
    let help = TestRkt::new().run(["help"]).expect_code(0).out();
    let (_, commands) = help.split_once("COMMANDS:\n").expect("a list of commands");
    let names = commands.lines().map_while(|line| line.strip_prefix('\t')?.split('\t').next());
    let mut expected = BTreeSet::from(["rkt.1".to_owned()]);
    for name in names {
        expected.insert(format!("rkt-{}.1", name.replace(' ', "-")));
        expected.extend(name.split_once(' ').map(|(group, _)| format!("rkt-{group}.1")));
    }

    assert_eq!(pages(), expected);
}

#[test]
fn every_page_is_rendered_without_complaint() {
    for page in pages() {
        let file = dist::file("man").join(&page);
        let output = Command::new("mandoc").args(["-T", "utf8", "-W", "error"]).arg(&file).output();
        let output = output.expect("mandoc starts");

        assert!(output.status.success() && output.stderr.is_empty(), "{page}: {output:?}");
        let text = without_overstriking(&String::from_utf8_lossy(&output.stdout));
        for section in ["NAME", "SYNOPSIS"] {
            assert!(text.lines().any(|line| line == section), "no {section} in {page}: {text}");
        }
    }
}

/// A letter, a backspace and the same letter are how a terminal of old was told to print in bold.
fn without_overstriking(text: &str) -> String {
    let mut plain = String::new();
    for letter in text.chars() {
        match letter {
            '\u{8}' => drop(plain.pop()),
            letter => plain.push(letter),
        }
    }
    plain
}

#[test]
fn a_page_shows_the_flags_of_apps_and_nothing_hidden() {
    let page = fs::read_to_string(dist::file("man").join("rkt-run.1")).expect("reading");

    for flag in ["no\\-overlay", "working\\-dir", "insecure\\-options"] {
        assert!(page.contains(flag), "no {flag} in {page}");
    }
    assert!(!page.contains("store\\-only"), "{page}");
}
