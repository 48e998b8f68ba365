//! Checks of the files of `TokenTable`.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::{Problems, Severity};
use crate::addr::TargetAddr;
use crate::config::file::FileError;
use crate::config::token::Tokens;
use crate::ipc::token_reach::{Barred, TokenReach};
use crate::tokens::policy::TokenPolicy;
use crate::tokens::table;

impl Problems {
    /// Checks a file, or each file of a directory. `settings` say where tokens may lead, and `are_recorded` whether sessions
    /// are recorded.
    pub(super) fn token_tables(
        &mut self,
        key: &'static str,
        path: &Path,
        settings: &Tokens,
        are_recorded: bool,
    ) {
        if !path.is_dir() {
            return self.token_table(key, path, settings, are_recorded);
        }
        self.directory(key, path, Severity::Warning);
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        let mut files: Vec<PathBuf> =
            entries.map(|entry| entry.path()).filter(|path| path.is_file()).collect();
        files.sort();
        for file in files {
            self.token_table(key, &file, settings, are_recorded);
        }
    }

    fn token_table(&mut self, key: &'static str, path: &Path, settings: &Tokens, are_recorded: bool) {
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
        let reach = TokenReach {
            allow: settings.allow.clone(),
            deny: settings.deny.clone().unwrap_or_default(),
            ..TokenReach::default()
        };
        let targets = tokens.values().flat_map(|policy| &policy.target);
        if let Some(barred) = targets.filter_map(|target| barred(&reach, target)).next() {
            let text = format!("{} has tokens that lead nowhere: {barred}", path.display());
            self.add(
                Severity::Warning,
                key,
                text,
                "change their `target`, or `token.allow` and `token.deny`",
            );
        }
    }
}

/// Why tokens do not lead to a target, if that is known without the resolver.
fn barred(reach: &TokenReach, target: &TargetAddr) -> Option<Barred> {
    match target {
        TargetAddr::Unix(path) => reach.check_unix(path).err(),
        TargetAddr::Tcp { host, port } => {
            let address = SocketAddr::new(host.parse().ok()?, *port);
            reach.check(address, true, |_| false).err()
        }
    }
}
