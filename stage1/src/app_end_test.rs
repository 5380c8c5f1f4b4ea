use guest_api::AppExit;

use super::app_end::{how, report};

#[test]
fn signals_are_named_and_real_time_ones_numbered() {
    assert_eq!(how(AppExit::Signal(11)), "was killed by SIGSEGV");
    assert_eq!(how(AppExit::Signal(34)), "was killed by signal 34");
    assert_eq!(how(AppExit::Code(3)), "exited with code 3");
}

#[test]
fn killed_app_is_reported_and_one_that_exits_is_not() {
    assert_eq!(
        report("db", AppExit::Signal(6), false, false).as_deref(),
        Some("app \"db\" was killed by SIGABRT")
    );
    assert_eq!(report("db", AppExit::Code(1), false, false), None);
}

#[test]
fn app_that_ends_by_the_signals_of_a_stop_is_not_reported() {
    assert_eq!(report("db", AppExit::Signal(15), true, false), None);
    assert_eq!(report("db", AppExit::Signal(9), true, false), None);
    assert!(report("db", AppExit::Signal(15), false, false).is_some());
    assert!(report("db", AppExit::Signal(11), true, false).is_some(), "a crash while stopping");
}

#[test]
fn lack_of_memory_is_said_whatever_the_end() {
    let killed = report("db", AppExit::Signal(9), true, true).unwrap();
    assert_eq!(killed, "app \"db\" was killed by SIGKILL: it ran out of memory");
    assert!(report("db", AppExit::Code(0), false, true).unwrap().contains("ran out of memory"));
}
