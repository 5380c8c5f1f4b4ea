//! Tables come out as Go's text/tabwriter makes them.

use super::table::align;

#[test]
fn columns_are_separated_by_tabs_that_reach_the_widest_cell() {
    let text = "UUID\tAPP\tSTATE\n5bc080ca\tnginx\trunning\n";

    let aligned = align(text);

    // "5bc080ca" is 8 wide, so its column is 16 and "UUID" needs two tabs.
    assert_eq!(aligned, "UUID\t\tAPP\tSTATE\n5bc080ca\tnginx\trunning\n");
}

#[test]
fn empty_cells_keep_their_column() {
    let text = "UUID\tAPP\tSTATE\n5bc080ca\tserver\trunning\n\tclient\t\n";

    let aligned = align(text);

    assert_eq!(aligned, "UUID\t\tAPP\tSTATE\n5bc080ca\tserver\trunning\n\t\tclient\t\n");
}

#[test]
fn a_line_without_cells_ends_the_columns_above_it() {
    let text = "a-long-first-cell\tx\n\nb\ty\n";

    let aligned = align(text);

    assert_eq!(aligned, "a-long-first-cell\tx\n\nb\ty\n");
}

#[test]
fn width_counts_characters_and_not_bytes() {
    let text = "éééééééé\tx\nabcdefgh\ty\n";

    let aligned = align(text);

    assert_eq!(aligned, "éééééééé\tx\nabcdefgh\ty\n");
}
