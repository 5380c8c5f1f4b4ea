use super::is_allowed;

#[test]
fn an_alternative_needs_one_allowed_licence() {
    assert!(is_allowed("MIT OR GPL-3.0-only"));
    assert!(is_allowed("MIT/Apache-2.0"));
    assert!(!is_allowed("GPL-2.0-only OR LGPL-2.1-only"));
}

#[test]
fn a_conjunction_needs_all_of_its_licences() {
    assert!(is_allowed("(MIT OR Apache-2.0) AND Unicode-3.0"));
    assert!(!is_allowed("MIT AND GPL-2.0-only"));
    assert!(is_allowed("Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT"));
}

#[test]
fn a_missing_or_broken_expression_is_refused() {
    assert!(!is_allowed(""));
    assert!(!is_allowed("(MIT"));
    assert!(!is_allowed("MIT MIT"));
}
