//! `TokenTable`: tokens and their policies in TOML files.
//!
//! The supervisor passes on only files that can be parsed.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

use common::ipc::setup::TokenFiles;
use common::tokens::hash::TokenHash;
use common::tokens::policy::TokenPolicy;
use common::tokens::table::{self, TokenName};

use super::error::LookupError;
use super::found::Found;
use super::table::Known;

/// The known tokens.
#[derive(Debug, Default)]
pub(in crate::connector) struct PolicyTable {
    /// `None` before the files have arrived, or if none of them can be read.
    tokens: RefCell<Option<Tokens>>,
}

#[derive(Debug, Default)]
struct Tokens {
    by_name: HashMap<TokenName, Rc<Entry>>,
    /// Some tokens are written as hashes.
    some_are_hashed: bool,
}

#[derive(Debug)]
struct Entry {
    policy: Rc<TokenPolicy>,
    targets: Vec<Known>,
}

impl PolicyTable {
    /// Replaces all tokens with the current content of the files.
    pub(super) fn fill(&self, files: &TokenFiles) {
        let mut tokens = Tokens::default();
        for file in &files.files {
            let parsed = match table::parse(&file.content, Path::new(&file.shown)) {
                Ok(parsed) => parsed,
                Err(error) => {
                    tracing::error!("{}", error.text_and_help().0);
                    continue;
                }
            };
            let distrust = file.distrust.as_deref().map(Rc::<str>::from);
            for (name, policy) in parsed {
                let known = |address: &_| Known::new(address, distrust.clone(), &files.sockets);
                let targets = policy.target.iter().map(known).collect();
                tokens.some_are_hashed |= matches!(name, TokenName::Hashed(_));
                tokens.by_name.insert(name, Rc::new(Entry { policy: Rc::new(policy), targets }));
            }
        }
        *self.tokens.borrow_mut() = (!files.unreadable).then_some(tokens);
    }

    /// Looks up the targets of a token, and its policy.
    pub(super) fn lookup(&self, token: &str) -> Result<Found, LookupError> {
        let tokens = self.tokens.borrow();
        let Some(tokens) = &*tokens else {
            return Err(LookupError::Failed("the tokens can't be read".into()));
        };
        let entry = tokens.find(token).ok_or(LookupError::NotFound)?;
        Ok(Found {
            targets: entry.targets.iter().map(Known::target).collect(),
            policy: Some(entry.policy.clone()),
            unknown: Vec::new(),
            identity: None,
        })
    }
}

impl Tokens {
    fn find(&self, token: &str) -> Option<&Entry> {
        let plain = self.by_name.get(&TokenName::Plain(token.to_owned()));
        let hashed = || {
            let is_possible = self.some_are_hashed && plain.is_none();
            is_possible.then(|| self.by_name.get(&TokenName::Hashed(TokenHash::of(token))))?
        };
        plain.or_else(hashed).map(|entry| &**entry)
    }
}

#[cfg(test)]
mod tests {
    use common::ipc::setup::TokenFile;

    use super::*;

    fn table(contents: &[&str]) -> PolicyTable {
        let file = |content: &&str| TokenFile {
            path: "t".into(),
            shown: "t".into(),
            content: content.as_bytes().to_vec(),
            distrust: None,
        };
        let table = PolicyTable::default();
        table.fill(&TokenFiles { files: contents.iter().map(file).collect(), ..TokenFiles::default() });
        table
    }

    fn leads_to(table: &PolicyTable, token: &str) -> Option<Vec<String>> {
        table.lookup(token).ok().map(|found| found.targets.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_token_is_found_by_itself_or_by_its_hash() {
        let hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        let table = table(&[
            "[tokens.a]\ntarget = \"h:1\"\n[tokens.b]\ntarget = \"h:2\"\n",
            &format!(
                "[tokens.b]\ntarget = [\"h:3\", \"h:4\"]\n[tokens.\"sha256:{hash}\"]\ntarget = \"h:5\"\n"
            ),
        ]);
        assert_eq!(leads_to(&table, "a"), Some(vec!["h:1".to_owned()]));
        assert_eq!(leads_to(&table, "b"), Some(vec!["h:3".to_owned(), "h:4".to_owned()]));
        assert_eq!(leads_to(&table, "test"), Some(vec!["h:5".to_owned()]));
        // The hash itself is no token.
        for wrong in ["", "c", hash, &format!("sha256:{hash}")] {
            assert_eq!(leads_to(&table, wrong), None, "{wrong}");
        }
    }

    #[test]
    fn nothing_is_known_before_files_have_come() {
        assert!(matches!(PolicyTable::default().lookup("a"), Err(LookupError::Failed(_))));
        let unreadable = PolicyTable::default();
        unreadable.fill(&TokenFiles { unreadable: true, ..TokenFiles::default() });
        assert!(matches!(unreadable.lookup("a"), Err(LookupError::Failed(_))));
    }
}
