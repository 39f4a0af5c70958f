//! Columns that line up.

use console::{Alignment, measure_text_width, pad_str, truncate_str};

use super::sanitize::sanitize;

const GAP: &str = "  ";

/// A cut column keeps at least this many characters.
const LEAST: usize = 8;

#[derive(Clone, Debug)]
struct Column {
    title: &'static str,
    alignment: Alignment,
    may_be_cut: bool,
}

/// Rows in aligned columns, measured by what a terminal shows (wide characters, no colour codes).
///
/// A column that is [`Table::flexible`] is cut, with `…`, when the rows would not fit; the others never are, because an
/// operator copies volume ids and names from them.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these column titles, all aligned left.
    pub fn new<const N: usize>(titles: [&'static str; N]) -> Self {
        let column = |title| Column { title, alignment: Alignment::Left, may_be_cut: false };
        Self { columns: titles.map(column).into(), rows: Vec::new() }
    }

    /// Aligns the column with this title right: for numbers.
    #[must_use]
    pub fn right(mut self, title: &str) -> Self {
        self.each(title, |column| column.alignment = Alignment::Right);
        self
    }

    /// Lets the column with this title be cut where the rows would not fit.
    #[must_use]
    pub fn flexible(mut self, title: &str) -> Self {
        self.each(title, |column| column.may_be_cut = true);
        self
    }

    fn each(&mut self, title: &str, change: impl Fn(&mut Column)) {
        self.columns.iter_mut().filter(|column| column.title == title).for_each(change);
    }

    /// Adds a row: a cell a column. Cells may be coloured but hold one line each: line breaks are escaped.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        let one_line = |cell: String| if cell.contains('\n') { sanitize(&cell).into_owned() } else { cell };
        self.rows.push(cells.map(one_line).into());
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The lines of the table for a terminal of this width, title first, each ended by a line break. Nothing when there
    /// is no row.
    pub fn render(&self, width: usize) -> String {
        if self.is_empty() {
            return String::new();
        }
        let widths = self.widths(width);
        let titles: Vec<String> = self.columns.iter().map(|column| column.title.to_owned()).collect();
        let lines = std::iter::once(&titles).chain(&self.rows).map(|cells| self.line(cells, &widths));
        lines.fold(String::new(), |text, line| text + line.trim_end() + "\n")
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let cell = |(index, column): (usize, &Column)| {
            let text = cells.get(index).map_or("", String::as_str);
            let text = truncate_str(text, widths[index], "…");
            pad_str(&text, widths[index], column.alignment, None).into_owned()
        };
        self.columns.iter().enumerate().map(cell).collect::<Vec<_>>().join(GAP)
    }

    /// The width of each column: that of its longest cell, less what the flexible ones give up, the widest first.
    fn widths(&self, available: usize) -> Vec<usize> {
        let longest = |(index, column): (usize, &Column)| {
            let cells =
                self.rows.iter().filter_map(|row| row.get(index)).map(|cell| measure_text_width(cell));
            cells.chain([measure_text_width(column.title)]).max().unwrap_or(0)
        };
        let mut widths: Vec<usize> = self.columns.iter().enumerate().map(longest).collect();
        let gaps = GAP.len() * self.columns.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > available {
            let can_give = |&index: &usize| self.columns[index].may_be_cut && widths[index] > LEAST;
            let Some(widest) = (0..widths.len()).filter(can_give).max_by_key(|&index| widths[index]) else {
                break;
            };
            widths[widest] -= 1;
        }
        widths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backups() -> Table {
        let mut table = Table::new(["date", "size", "notes"]).right("size").flexible("notes");
        table.row(["2026-01-30".into(), "9.5 GiB".into(), "日本 before upgrade".into()]);
        table.row(["2026-01-29".into(), "12.5 GiB".into(), String::new()]);
        table
    }

    #[test]
    fn columns_line_up_by_what_is_shown() {
        assert_eq!(
            backups().render(80),
            "date            size  notes\n2026-01-30   9.5 GiB  日本 before upgrade\n2026-01-29  12.5 GiB\n"
        );
    }

    #[test]
    fn only_a_flexible_column_is_cut() {
        let shown = backups().render(36);
        assert!(shown.lines().all(|line| measure_text_width(line) <= 36), "{shown}");
        assert!(shown.contains("12.5 GiB"), "{shown}");
        assert!(shown.contains('…'), "{shown}");
        let mut rigid = Table::new(["volume"]);
        rigid.row(["local:backup/vzdump-qemu-101-2026_01_30-01_00_04.vma.zst".into()]);
        assert!(rigid.render(20).contains("2026_01_30-01_00_04.vma.zst"));
    }

    #[test]
    fn colour_takes_no_room() {
        let mut table = Table::new(["state", "name"]);
        table.row(["\x1b[32mok\x1b[0m".into(), "web".into()]);
        table.row(["failed".into(), "dns".into()]);
        assert_eq!(table.render(80), "state   name\n\x1b[32mok\x1b[0m      web\nfailed  dns\n");
    }

    #[test]
    fn a_cell_with_a_line_break_stays_one_row_and_no_row_is_no_text() {
        let mut table = Table::new(["name"]);
        assert_eq!(table.render(80), "");
        table.row(["a\nb".into()]);
        assert_eq!(table.render(80), "name\na\\nb\n");
    }
}
