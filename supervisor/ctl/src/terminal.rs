//! Tables and colors on standard output.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};

use common::log::Escaped;

/// Width to assume if the terminal does not report one.
const DEFAULT_WIDTH: usize = 100;

/// Ends colored text.
const RESET: &str = "\u{1b}[0m";

/// How text is highlighted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Color {
    /// A heading.
    Bold,
    /// What is as it should be.
    Green,
    /// What may need attention.
    Yellow,
    /// What is wrong.
    Red,
}

impl Color {
    fn begin(self) -> &'static str {
        match self {
            Self::Bold => "\u{1b}[1m",
            Self::Green => "\u{1b}[32m",
            Self::Yellow => "\u{1b}[33m",
            Self::Red => "\u{1b}[31m",
        }
    }
}

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Column {
    /// Its heading. Cells begin below that of the heading.
    Text(&'static str),
    /// Its heading. Cells end below that of the heading, as numbers should.
    Number(&'static str),
}

impl Column {
    fn head(self) -> &'static str {
        let (Self::Text(head) | Self::Number(head)) = self;
        head
    }
}

/// Text in a table, which may come from a client.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    text: String,
    color: Option<Color>,
}

impl<T: ToString> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: Escaped(&text.to_string()).to_string(), color: None }
    }
}

impl Cell {
    pub(crate) fn colored(text: &str, color: Color) -> Self {
        Self { color: Some(color), ..text.into() }
    }
}

/// What standard output can show.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terminal {
    /// Lines of tables are cut to this number of characters.
    width: usize,
    has_colors: bool,
}

impl Terminal {
    /// Standard output. Without a terminal there are no colors, and lines are not cut.
    pub(crate) fn stdout() -> Self {
        let out = io::stdout();
        if !out.is_terminal() {
            return Self { width: usize::MAX, has_colors: false };
        }
        let width = match rustix::termios::tcgetwinsize(out) {
            Ok(size) if size.ws_col > 0 => size.ws_col.into(),
            _ => DEFAULT_WIDTH,
        };
        // no-color.org
        let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|name| name == "dumb");
        Self { width, has_colors: !is_unwanted && !is_dumb }
    }

    /// Highlights text, if the terminal has colors.
    pub(crate) fn paint(self, text: &str, color: Option<Color>) -> String {
        match color {
            Some(color) if self.has_colors && !text.is_empty() => {
                format!("{}{text}{RESET}", color.begin())
            }
            _ => text.to_owned(),
        }
    }

    /// Formats a table with columns as wide as needed.
    pub(crate) fn table(self, columns: &[Column], rows: Vec<Vec<Cell>>) -> String {
        let head = columns.iter().map(|column| Cell::colored(column.head(), Color::Bold)).collect();
        let lines: Vec<Vec<Cell>> = std::iter::once(head).chain(rows).collect();
        let length = |cell: Option<&Cell>| cell.map_or(0, |cell| cell.text.chars().count());
        let width_of =
            |index: usize| lines.iter().map(|line| length(line.get(index))).max().unwrap_or_default();
        let widths: Vec<_> = (0..columns.len()).map(width_of).collect();
        let mut out = String::new();
        for line in &lines {
            let mut left = self.width;
            for (index, (cell, column)) in line.iter().zip(columns).enumerate() {
                let mut text = if index == 0 { String::new() } else { "  ".to_owned() };
                // Writing to a string can't fail.
                let _ = match column {
                    Column::Number(_) => write!(text, "{:>1$}", cell.text, widths[index]),
                    Column::Text(_) if index + 1 == line.len() => write!(text, "{}", cell.text),
                    Column::Text(_) => write!(text, "{:1$}", cell.text, widths[index]),
                };
                let shown: String = text.chars().take(left).collect();
                left -= shown.chars().count();
                out += &self.paint(&shown, cell.color);
            }
            out += "\n";
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [Column::Text("NAME"), Column::Number("COUNT"), Column::Text("LAST")];

    #[test]
    fn tables_are_aligned_and_control_characters_are_escaped() {
        let rows = vec![
            vec!["a".into(), 7.into(), "\u{1b}[2J".into()],
            vec!["longer".into(), 12345678.into()],
            vec![Cell::colored("b", Color::Red)],
        ];
        let plain = Terminal { width: usize::MAX, has_colors: false };
        assert_eq!(
            plain.table(&COLUMNS, rows),
            "NAME       COUNT  LAST\na              7  \\u{1b}[2J\nlonger  12345678\nb\n"
        );
    }

    #[test]
    fn lines_are_cut_and_colors_do_not_count() {
        let rows = vec![vec![Cell::colored("abc", Color::Green), 7.into(), "long".into()]];
        let narrow = Terminal { width: 9, has_colors: true };
        let bold = |text: &str| narrow.paint(text, Some(Color::Bold));
        let head = bold("NAME") + &bold("  COU") + "\n";
        assert_eq!(narrow.table(&COLUMNS, rows), head + "\u{1b}[32mabc \u{1b}[0m     \n");
    }
}
