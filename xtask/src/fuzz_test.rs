use std::ffi::OsString;

use super::{Figures, Limit, Request};

fn parse(words: &str) -> anyhow::Result<Request> {
    let words: Vec<OsString> = words.split_whitespace().map(OsString::from).collect();
    Request::parse(&words, &["net".to_owned(), "vsock".to_owned()])
}

#[test]
fn request_without_a_target_is_for_all_of_them() {
    let request = parse("--runs 5 --planted").unwrap();

    assert_eq!(request.targets, ["net", "vsock"]);
    assert_eq!((request.limit, request.planted), (Limit::Runs(5), true));
    assert_eq!(parse("vsock").unwrap().targets, ["vsock"]);
}

#[test]
fn unknown_target_and_a_limit_that_is_no_number_are_refused() {
    assert!(parse("floppy").unwrap_err().to_string().contains("there are: net vsock"));
    assert!(parse("--seconds soon").is_err());
}

#[test]
fn figures_are_those_of_the_last_line_that_has_them() {
    let log = "INFO: seed\n#2\tINITED cov: 10 ft: 11 corp: 1/1b exec/s: 0 rss: 40Mb\n\
               #900\tNEW    cov: 25 ft: 30 corp: 7/99b lim: 4 exec/s: 10 rss: 41Mb L: 3/9 MS: 1\n\
               #1000\tDONE   cov: 25 ft: 31 corp: 8/100b lim: 4 exec/s: 10 rss: 41Mb\n";

    let figures = Figures::of(log, 3);

    assert_eq!(figures, Figures { executions: 1000, edges: 25, inputs: 8, seconds: 3 });
}
