use crate::clock::{Correction, correction};

const MILLISECOND: i128 = 1_000_000;
const TOLERANCE: i128 = MILLISECOND;

#[test]
fn large_errors_are_corrected_at_once_in_both_directions() {
    assert_eq!(correction(20_000 * MILLISECOND, TOLERANCE), Correction::Step);
    assert_eq!(correction(-128 * MILLISECOND, TOLERANCE), Correction::Step);
}

#[test]
fn small_errors_are_made_up_bit_by_bit() {
    assert_eq!(correction(15 * MILLISECOND, TOLERANCE), Correction::Slew(15_000));
    assert_eq!(correction(-15 * MILLISECOND, TOLERANCE), Correction::Slew(-15_000));
}

#[test]
fn errors_that_may_be_none_are_left_alone() {
    assert_eq!(correction(TOLERANCE, TOLERANCE), Correction::None);
    assert_eq!(correction(-TOLERANCE, TOLERANCE), Correction::None);
}

#[test]
fn absurd_errors_are_corrected_at_once() {
    assert_eq!(correction(i128::from(u64::MAX), TOLERANCE), Correction::Step);
    assert_eq!(correction(-i128::from(u64::MAX), TOLERANCE), Correction::Step);
}
