use super::libtest_summary;
use super::runner::{Tables, collect_rows};
use super::tally::Tally;

#[test]
fn summary_of_libtest_is_counted() {
    let summary = "FAILED. 3 passed; 2 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.00s";

    assert_eq!(libtest_summary(summary), Some(Tally { passed: 3, failed: 2, skipped: 1 }));
    assert_eq!(libtest_summary("nonsense"), None);
}

#[test]
fn tally_is_read_back_as_it_was_printed() {
    let tally = Tally { passed: 12, failed: 0, skipped: 3 };

    assert_eq!(tally.to_string(), "12 passed, 0 failed, 3 skipped");
    assert_eq!(Tally::parse(&tally.to_string()), Some(tally));
    assert_eq!(Tally::parse("12 passed"), None);
}

#[test]
fn rows_of_a_table_are_collected_under_its_head() {
    let mut tables = Tables::new();

    collect_rows(&mut tables, "test name ... table: size\t1\nanything else\ntable: colour\tred\n");
    collect_rows(&mut tables, "table: size\t2\n");

    let expected = [("size", vec!["1", "2"]), ("colour", vec!["red"])];
    assert!(
        tables
            .iter()
            .map(|(head, rows)| (head.as_str(), rows.clone()))
            .eq(expected.map(|(head, rows)| { (head, rows.into_iter().map(str::to_owned).collect()) }))
    );
}
