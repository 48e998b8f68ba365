//! Checks of the files of `TokenTable`.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Problems, Severity};
use crate::config::file::FileError;
use crate::tokens::policy::TokenPolicy;
use crate::tokens::table;

impl Problems {
    /// Checks a file, or each file of a directory. `are_recorded` tells whether sessions are recorded.
    pub(super) fn token_tables(&mut self, key: &'static str, path: &Path, are_recorded: bool) {
        if !path.is_dir() {
            return self.token_table(key, path, are_recorded);
        }
        self.directory(key, path, Severity::Warning);
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        let mut files: Vec<PathBuf> =
            entries.map(|entry| entry.path()).filter(|path| path.is_file()).collect();
        files.sort();
        for file in files {
            self.token_table(key, &file, are_recorded);
        }
    }

    fn token_table(&mut self, key: &'static str, path: &Path, are_recorded: bool) {
        // A file that is missing may be created later. Opening a FIFO would block.
        if !path.is_file() {
            return self.file(key, path, Severity::Warning);
        }
        let read = fs::read(path).map_err(|error| FileError::whole(path, format!("can't be read: {error}")));
        let tokens = match read.and_then(|content| table::parse(&content, path)) {
            Ok(tokens) => tokens,
            Err(error) => {
                let (text, help) = error.text_and_help();
                return self.add(
                    Severity::Error,
                    key,
                    text,
                    help.unwrap_or_else(|| "correct the file".to_owned()),
                );
            }
        };
        let demands = |policy: &TokenPolicy| policy.record == Some(true);
        if !are_recorded && tokens.values().any(demands) {
            let text = format!("{} has tokens with `record = true`, and nothing is recorded", path.display());
            self.add(Severity::Error, key, text, "say where with `record`, or leave it out");
        }
    }
}
