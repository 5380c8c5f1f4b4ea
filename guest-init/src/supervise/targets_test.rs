use super::targets;

#[test]
fn main_process_that_has_not_joined_its_group_is_signalled() {
    assert_eq!(targets(vec![7, 8], Some(9)), [7, 8, 9]);
}

#[test]
fn main_process_in_its_group_is_signalled_once() {
    assert_eq!(targets(vec![7, 9], Some(9)), [7, 9]);
}

#[test]
fn stop_on_the_heels_of_an_end_signals_what_is_left_and_not_pid_1s_own_group() {
    // kill(2) takes 0 for the caller's process group.
    assert_eq!(targets(vec![7], None), [7]);
}
