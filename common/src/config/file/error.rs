//! Errors in configuration files, with their place.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::rules::Conflict;
use crate::config::similar::most_similar;
use crate::config::value::{HELP, KEY};

/// Maximum number of characters that are shown of an offending line.
const MAX_SHOWN: usize = 100;

/// An error in a configuration file. `Display` formats it for the administrator, without a final newline:
/// `error: FILE:LINE:COLUMN: text`, the line with a caret, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    file: PathBuf,
    place: Option<Place>,
    text: String,
    help: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    /// Counts from 1.
    line: usize,
    /// Counts characters from 1.
    column: usize,
    /// The text of the line, unless it may contain a secret.
    shown: Option<String>,
    /// Number of characters to mark, at least 1.
    width: usize,
}

/// An error with a byte range in place of line and column.
#[derive(Debug)]
pub(super) struct Problem {
    span: Option<Range<usize>>,
    text: String,
    help: Option<String>,
}

impl Problem {
    /// Converts an error of the `toml` crate or of a value's type, and rewords it.
    pub(super) fn from_toml(error: &toml::de::Error, text: &str) -> Self {
        let (message, key) = match error.message().split_once(KEY) {
            Some((message, key)) => (message, Some(key)),
            None => (error.message(), None),
        };
        // For an error in a table that was parsed as a whole, only the range of the table is known. Find the
        // key in it.
        let span =
            error.span().map(|table| key.and_then(|key| key_below(text, &table, key)).unwrap_or(table));
        let (text, help) = match message.split_once(HELP) {
            Some((text, help)) => (text.to_owned(), Some(help.to_owned())),
            None => in_our_words(message),
        };
        Self { span, text, help }
    }

    /// Creates the error of a rule about several keys of `text`.
    pub(super) fn from_conflict(conflict: Conflict, text: &str) -> Self {
        let span = conflict.key.and_then(|key| {
            let document = DeTable::parse(text).ok()?;
            let mut names = key.split('.');
            let value = document.get_ref().get(names.next()?)?;
            Some(names.try_fold(value, |table, name| table.get_ref().get(name))?.span())
        });
        Self { span, text: conflict.text, help: Some(conflict.help.to_owned()) }
    }

    /// Leaves out what the file contains in place of a known name or a table: it may be a secret.
    pub(super) fn without_names(mut self) -> Self {
        if self.text.starts_with("unknown key") {
            "unknown key".clone_into(&mut self.text);
        }
        if let Some((expected, _)) = self.text.split_once(", found string ") {
            self.text = format!("{expected}, found a string");
        }
        self
    }

    pub(super) fn in_text(self, file: &Path, text: &str) -> FileError {
        let place = self.span.map(|span| Place::find(text, span));
        FileError { file: file.to_owned(), place, text: self.text, help: self.help }
    }
}

/// Range of the value of `key` in the table at `table`.
fn key_below(text: &str, table: &Range<usize>, key: &str) -> Option<Range<usize>> {
    fn find<'a, 'i>(value: &'a Spanned<DeValue<'i>>, place: &Range<usize>) -> Option<&'a DeTable<'i>> {
        match value.get_ref() {
            DeValue::Table(table) if value.span() == *place => Some(table),
            DeValue::Table(table) => table.values().find_map(|value| find(value, place)),
            DeValue::Array(list) => list.iter().find_map(|value| find(value, place)),
            _ => None,
        }
    }
    let document = DeTable::parse(text).ok()?;
    let table = document.get_ref().values().find_map(|value| find(value, table))?;
    table.get(key).map(Spanned::span)
}

/// Rewords the messages of serde: "unknown field `a`, expected one of `b`, `c`", "missing field `a`", and
/// "invalid type: string "a", expected a boolean".
fn in_our_words(message: &str) -> (String, Option<String>) {
    let found_and_expected = message
        .strip_prefix("invalid type: ")
        .or(message.strip_prefix("invalid value: "))
        .and_then(|rest| rest.split_once(", expected "));
    if let Some((found, expected)) = found_and_expected {
        let number = found.split('`').nth(1).filter(|_| !found.starts_with("boolean"));
        let (expected, help) = match (expected, number) {
            ("a boolean", _) => ("true or false without quotes", None),
            (table, _) if table.starts_with("struct ") => ("a table", None),
            ("a nonzero u16", _) => ("a number from 1 to 65535", None),
            ("a nonzero u32", _) => {
                let help = "write a number from 1 on, or leave the key out".to_owned();
                ("a number from 1 to 4294967295", Some(help))
            }
            (words, Some(number)) if words.starts_with('"') => {
                (words, Some(format!("write it in quotes: \"{number}\"")))
            }
            (expected, _) => (expected, None),
        };
        return (format!("expected {expected}, found {found}"), help);
    }
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    match quoted.as_slice() {
        [key, known @ ..] if message.starts_with("unknown field") => {
            let key_shown = key.escape_debug();
            let help = match most_similar(key, known.iter().copied()) {
                Some(similar) => format!("did you mean `{similar}`?"),
                None => format!("possible keys here: {}", known.join(", ")),
            };
            (format!("unknown key `{key_shown}`"), Some(help))
        }
        [key, ..] if message.starts_with("missing field") => {
            (format!("`{key}` is missing"), Some(format!("add a line `{key} = …` to this table")))
        }
        _ => (message.replace('\n', ", "), None),
    }
}

impl Place {
    fn find(text: &str, span: Range<usize>) -> Self {
        let before = text.get(..span.start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before[line_start..].chars().count() + 1;
        let line_text = text[line_start..].lines().next().unwrap_or_default();
        let line_end = line_start + line_text.len();
        let wrong = text.get(span.start..span.end.min(line_end)).unwrap_or_default();
        // The line may hold a secret that should be in a file of its own. It must not get into logs.
        let holds = |key: &str, file: &str| line_text.contains(key) && !line_text.contains(file);
        let secret = holds("password", "password-file") || holds("source", "source-file");
        let printable = |c: char| if c.is_control() { ' ' } else { c };
        let shown = line_text.trim_end().chars().take(MAX_SHOWN).map(printable).collect();
        Self {
            line: before.matches('\n').count() + 1,
            column,
            shown: (!secret && column <= MAX_SHOWN).then_some(shown),
            width: wrong.chars().count().clamp(1, (MAX_SHOWN + 1).saturating_sub(column).max(1)),
        }
    }
}

impl FileError {
    /// Creates an error about the file as a whole.
    pub(in crate::config) fn whole(file: &Path, text: String) -> Self {
        Self { file: file.to_owned(), place: None, text, help: None }
    }

    /// Does not show the line.
    pub(super) fn without_line(mut self) -> Self {
        self.place = self.place.map(|place| Place { shown: None, ..place });
        self
    }

    /// File, place and text in one line, and the help.
    #[must_use]
    pub fn text_and_help(&self) -> (String, Option<String>) {
        let place = self.place.as_ref().map(|place| format!("{}:{}:", place.line, place.column));
        let text = format!("{}:{} {}", self.file.display(), place.unwrap_or_default(), self.text);
        (text, self.help.clone())
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}:", self.file.display())?;
        match &self.place {
            None => write!(f, " {}", self.text)?,
            Some(place) => {
                write!(f, "{}:{}: {}", place.line, place.column, self.text)?;
                if let Some(shown) = &place.shown {
                    let number = place.line.to_string();
                    let margin = " ".repeat(number.len());
                    let caret = " ".repeat(place.column - 1) + &"^".repeat(place.width);
                    write!(f, "\n{margin} |\n{number} | {shown}\n{margin} | {caret}")?;
                }
            }
        }
        match &self.help {
            Some(help) => write!(f, "\nhelp: {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for FileError {}
