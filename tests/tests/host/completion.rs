//! `rkt completion`: the scripts, as the shells themselves understand them.

use std::fs;
use std::process::{Command, Stdio};

use rkt_tests::rkt::{RKT_FAILED, TestRkt};

/// Asks for completions as bash itself does: the script registers a function, which finds its answer in `COMPREPLY`.
const ASK_BASH: &str = r#"
source "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
COMP_LINE="$*"
COMP_POINT=${#COMP_LINE}
complete -p rkt >/dev/null || exit 1
read -r _ _ function _ < <(complete -p rkt | grep -o -- '-F [^ ]*' | sed 's/^/x /')
"$function" rkt "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"
"#;

/// What bash offers for the last of these words.
#[track_caller]
fn bash_offers(words: &[&str]) -> Vec<String> {
    let rkt = TestRkt::new();
    let script = rkt.run(["completion", "bash"]).expect_code(0).out();
    let file = rkt.path("rkt.bash");
    fs::write(&file, script).expect("writing the script");
    let output = Command::new("bash")
        .args(["--norc", "-c", ASK_BASH, "bash"])
        .arg(&file)
        .args(words)
        .stdin(Stdio::null())
        .output()
        .expect("bash starts");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_and_commands_below_them() {
    assert_eq!(bash_offers(&["rkt", "im"]), ["image"]);
    assert_eq!(bash_offers(&["rkt", "image", "ex"]), ["export", "extract"]);
    assert_eq!(bash_offers(&["rkt", "image", "fe"]), [""], "hidden commands are not offered");
    assert_eq!(bash_offers(&["rkt", "help", "comp"]), ["completion"]);
}

#[test]
fn bash_completes_flags_of_pods_of_apps_and_global_ones() {
    assert_eq!(bash_offers(&["rkt", "run", "--no-o"]), ["--no-overlay"]);
    assert_eq!(bash_offers(&["rkt", "run", "example.com/app", "--work"]), ["--working-dir"]);
    assert_eq!(bash_offers(&["rkt", "run", "--insec"]), ["--insecure-options"]);
    assert_eq!(bash_offers(&["rkt", "fetch", "--sig"]), ["--signature"]);
    assert_eq!(bash_offers(&["rkt", "run", "--store-o"]), [""], "deprecated flags are not offered");
}

#[test]
fn bash_completes_values_where_there_are_few() {
    assert_eq!(bash_offers(&["rkt", "fetch", "--pull-policy", ""]), ["new", "update", "never"]);
    assert_eq!(bash_offers(&["rkt", "list", "--format", "json-"]), ["json-pretty"]);
    assert_eq!(bash_offers(&["rkt", "--insecure-options", "sec"]), ["seccomp"]);
    assert!(bash_offers(&["rkt", "completion", ""]).ends_with(&["bash", "fish", "zsh"].map(str::to_owned)));
}

#[test]
fn zsh_and_fish_understand_their_scripts() {
    let rkt = TestRkt::new();
    for (shell, check) in [("zsh", ["-n"].as_slice()), ("fish", &["--no-execute"])] {
        let script = rkt.run(["completion", shell]).expect_code(0).out();
        assert!(script.contains("no-overlay") && !script.contains("store-only"), "{shell}: {script}");
        let file = rkt.path(shell);
        fs::write(&file, script).expect("writing the script");

        let output = Command::new(shell).args(check).arg(&file).output().expect("the shell starts");

        assert!(output.status.success() && output.stderr.is_empty(), "{shell}: {output:?}");
    }
}

#[test]
fn a_shell_is_needed_and_has_to_be_known() {
    let rkt = TestRkt::new();

    rkt.run(["completion"]).expect_code(RKT_FAILED).expect_err("completion: shell type is not specified");
    rkt.run(["completion", "tcsh"]).expect_code(RKT_FAILED).expect_err("'tcsh' shell is not supported");
    let output = rkt.run(["completion", "bash", "zsh"]).expect_code(RKT_FAILED);
    assert_eq!(output.err(), "completion: too many arguments, only shell type is expected\n");
}
