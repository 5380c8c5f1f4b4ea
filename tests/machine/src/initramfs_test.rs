use std::ffi::OsStr;
use std::process::Command;

use super::quote;

#[test]
fn a_shell_reads_a_quoted_word_as_it_was() {
    let word = "it's $HOME; `id` \"x\"\\ \n*";
    let mut script = b"printf %s ".to_vec();
    quote(&mut script, OsStr::new(word));

    let output = Command::new("sh").arg("-c").arg(String::from_utf8(script).unwrap()).output().unwrap();

    assert_eq!(String::from_utf8(output.stdout).unwrap(), word);
}
