use std::fs::File;
use std::os::unix::fs::MetadataExt;

use super::report::{News, pair};

#[test]
fn silence_means_that_the_program_is_not_executed_yet() {
    let (report, _reporter) = pair().unwrap();

    assert!(matches!(report.next(), News::None));
}

#[test]
fn name_space_comes_first_and_the_closing_of_the_report_is_the_execution() {
    let (report, reporter) = pair().unwrap();
    let namespace = File::open("/proc/self/ns/mnt").unwrap();
    let number = namespace.metadata().unwrap().ino();

    reporter.hand_over(&namespace.into()).unwrap();
    drop(reporter);

    let News::MountNamespace(received) = report.next() else { panic!("no name space") };
    assert_eq!(File::from(received).metadata().unwrap().ino(), number);
    assert!(matches!(report.next(), News::Executed));
    assert!(matches!(report.next(), News::Executed));
}

#[test]
fn reason_comes_through_even_when_it_is_too_long() {
    let (report, reporter) = pair().unwrap();

    reporter.fail("ä".repeat(5000));
    drop(reporter);

    let News::Failed(reason) = report.next() else { panic!("no reason") };
    assert_eq!(reason, "ä".repeat(2048));
}
