//! The table of images: order, columns, figures.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::list::{Entry, Field, Fields, Order, SortFields, sort, table};
use crate::store::ImageInfo;

const ID: &str = "sha512-c2e35f1e3a0c1bf9d1a4d2d8ec5a63ac0f4a3bdaa3ef1a45e2ffd1e1a6d39d2a";

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn image(digit: char, name: &str, imported: u64, used: u64, size: u64) -> ImageInfo {
    ImageInfo {
        key: format!("sha512-{}", digit.to_string().repeat(64)).parse().unwrap(),
        name: name.to_owned(),
        import_time: at(imported),
        last_used: at(used),
        latest: false,
        size,
        tree_size: 1,
        layers: Vec::new(),
    }
}

fn entry() -> Entry {
    Entry {
        id: ID.to_owned(),
        name: "example.com/app:1.0".to_owned(),
        import_time: 1_000_000_000_000,
        last_used_time: 1_060_000_000_000,
        size: 1536,
    }
}

#[test]
fn images_are_sorted_by_each_field_in_either_order() {
    let mut images = [image('a', "b", 1, 9, 5), image('b', "a", 3, 7, 6), image('c', "c", 2, 8, 4)];
    let cases = [
        ("name", Order::Ascending, "bac"),
        ("importtime", Order::Ascending, "acb"),
        ("importtime", Order::Descending, "bca"),
        ("lastused", Order::Ascending, "bca"),
        ("size", Order::Ascending, "cab"),
        ("size", Order::Descending, "bac"),
        ("", Order::Ascending, "abc"),
    ];

    for (by, order, expected) in cases {
        sort(&mut images, &by.parse::<SortFields>().unwrap().0, order);

        let found: String = images.iter().map(|image| &image.key.as_str()[7..8]).collect();
        assert_eq!(found, expected, "{by} {order:?}");
    }
}

#[test]
fn further_fields_decide_between_equals() {
    let mut images = [image('a', "x", 2, 0, 0), image('b', "x", 1, 0, 0), image('c', "w", 3, 0, 0)];

    sort(&mut images, &"name,importtime".parse::<SortFields>().unwrap().0, Order::Ascending);

    let names: Vec<&str> = images.iter().map(|image| &image.key.as_str()[7..8]).collect();
    assert_eq!(names, ["c", "b", "a"]);
}

#[test]
fn the_table_has_the_chosen_columns_in_the_chosen_order() {
    let fields: Fields = "name,id,size".parse().unwrap();

    let text = table(&[entry()], &fields.0, true, false, at(0));

    assert_eq!(text, "NAME\tID\tSIZE\nexample.com/app:1.0\tsha512-c2e35f1e3a0c\t1.5KiB\n");
}

#[test]
fn times_are_relative_unless_everything_is_asked_for() {
    let fields = [Field::ImportTime, Field::LastUsed];

    let short = table(&[entry()], &fields, false, false, at(1120));
    let full = table(&[entry()], &[Field::Id, Field::Size, Field::ImportTime], false, true, at(1120));

    assert_eq!(short, "2 minutes ago\t1 minute ago\n");
    assert!(full.starts_with(&format!("{ID}\t1536\t1970-01-01 ")), "{full}");
}

#[test]
fn a_version_cannot_write_over_the_terminal() {
    let hostile = Entry { name: "a:\u{1b}[2J\tx".to_owned(), ..entry() };

    let text = table(&[hostile], &[Field::Name], false, false, at(0));

    assert!(!text.contains(['\u{1b}', '\t']), "{text:?}");
}

#[test]
fn unknown_fields_are_refused_by_name() {
    assert_eq!("id,latest".parse::<Fields>(), Err("unknown option \"latest\"".to_owned()));
    assert_eq!("id".parse::<SortFields>(), Err("unknown option \"id\"".to_owned()));
    assert_eq!("up".parse::<Order>(), Err("wrong sort order".to_owned()));
    assert_eq!("DESC".parse::<Order>(), Ok(Order::Descending));
}
