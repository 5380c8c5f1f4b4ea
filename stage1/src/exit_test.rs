use guest_api::AppExit;

use super::exit::*;

fn code_of(exits: &[AppExit]) -> ExitCode {
    let mut outcome = PodOutcome::default();
    for exit in exits {
        outcome.app_ended(*exit);
    }
    outcome.exit_code()
}

#[test]
fn pod_whose_apps_all_succeed_exits_with_0() {
    assert_eq!(code_of(&[AppExit::Code(0), AppExit::Code(0)]), ExitCode(0));
}

#[test]
fn first_failing_app_decides() {
    assert_eq!(code_of(&[AppExit::Code(0), AppExit::Code(42), AppExit::Signal(15)]), ExitCode(42));
}

#[test]
fn killed_app_counts_with_the_bare_signal_number() {
    assert_eq!(code_of(&[AppExit::Signal(9), AppExit::Code(1)]), ExitCode(9));
}

#[test]
fn failure_of_rkt_beats_every_app() {
    let mut outcome = PodOutcome::default();
    outcome.app_ended(AppExit::Code(1));
    outcome.fail();

    assert_eq!(outcome.exit_code(), ExitCode(254));
}
