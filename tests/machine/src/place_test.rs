use super::{has_extensions, tsc_khz};

const VIRTUAL: &str = "processor\t: 0\ncpu MHz\t\t: 2596.144\nflags\t\t: fpu vme vmmcall\n";
const REAL: &str = "processor\t: 0\ncpu MHz\t\t: 3400.5\nflags\t\t: fpu vmx sse\n";

#[test]
fn a_flag_that_only_contains_the_name_is_no_extension() {
    assert!(!has_extensions(VIRTUAL));
    assert!(!has_extensions("flags\t: svm_lock vmxnet\n"));
    assert!(has_extensions(REAL));
}

#[test]
fn rate_of_the_tsc_is_read_in_khz() {
    assert_eq!(tsc_khz(VIRTUAL), Some(2_596_144));
    assert_eq!(tsc_khz(REAL), Some(3_400_500));
    assert_eq!(tsc_khz("flags: fpu\n"), None);
}
