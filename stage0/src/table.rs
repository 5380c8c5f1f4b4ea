//! Columns aligned with literal tabs, as rkt's tables are.
//!
//! Responsible for: turning tab-separated lines into aligned ones. Must not know: what the cells mean. Follows the
//! Go package text/tabwriter with minwidth 0, tabwidth 8, padding 1, padchar TAB (rkt-reference.md 1.1): scripts
//! split rkt's tables at tabs, so the padding itself is tabs.

const TAB_WIDTH: usize = 8;
const PADDING: usize = 1;

/// Aligns `text`, whose cells are terminated by tabs. The last cell of a line belongs to no column.
pub fn align(text: &str) -> String {
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|cells| vec![0; cells.len()]).collect();
    size_block(&lines, 0, lines.len(), 0, &mut widths);

    let mut out = String::with_capacity(text.len() * 2);
    for (cells, widths) in lines.iter().zip(&widths) {
        for (index, (cell, width)) in cells.iter().zip(widths).enumerate() {
            out.push_str(cell);
            if index + 1 < cells.len() {
                let missing = width.saturating_sub(cell.chars().count());
                out.extend(std::iter::repeat_n('\t', missing.div_ceil(TAB_WIDTH)));
            }
        }
        out.push('\n');
    }
    out
}

/// Widths of column `column` in the lines `[from, to)`. A column is a run of consecutive lines that have a terminated
/// cell there; each run is sized alone, and so are the columns to its right.
fn size_block(lines: &[Vec<&str>], from: usize, to: usize, column: usize, widths: &mut [Vec<usize>]) {
    let terminated = |line: usize| lines.get(line).is_some_and(|cells| column + 1 < cells.len());
    let mut line = from;
    while line < to {
        if !terminated(line) {
            line += 1;
            continue;
        }
        let start = line;
        while line < to && terminated(line) {
            line += 1;
        }
        let widest = lines
            .iter()
            .take(line)
            .skip(start)
            .filter_map(|cells| cells.get(column))
            .map(|cell| cell.chars().count() + PADDING)
            .max()
            .unwrap_or(PADDING);
        let width = widest.div_ceil(TAB_WIDTH) * TAB_WIDTH;
        for cells in widths.iter_mut().take(line).skip(start) {
            if let Some(cell) = cells.get_mut(column) {
                *cell = width;
            }
        }
        size_block(lines, start, line, column + 1, widths);
    }
}
