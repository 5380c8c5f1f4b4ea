use super::diagnostics::line;

#[test]
fn a_guests_words_do_nothing_to_a_terminal() {
    let said = line("stage1", "why\x1b[2J\r\u{9b}31m ö\n  └─because");

    assert_eq!(String::from_utf8(said).unwrap(), "stage1: why\\u{1b}[2J\\r\\u{9b}31m ö\n  └─because\n");
}
