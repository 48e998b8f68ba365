//! The format of files of users, as htpasswd(1) writes them: lines `user:hash`, with hashes of bcrypt, SHA-crypt or
//! Argon2. The supervisor reads them, and the connector verifies passwords.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::config::Secret;

/// Maximum size of a file in bytes, for about ten thousand users.
pub const MAX_FILE_BYTES: u64 = 1 << 20;

/// Maximum length of a user's name in bytes.
pub const MAX_NAME_BYTES: usize = 255;

/// Maximum cost of bcrypt, which takes about four seconds.
const MAX_BCRYPT_COST: u32 = 16;

/// Minimum and maximum number of rounds of SHA-crypt; the maximum takes about three seconds.
const SHA_CRYPT_ROUNDS: std::ops::RangeInclusive<u32> = 1000..=5_000_000;

/// Maximum memory of Argon2 in KiB. The process that verifies passwords needs it once for each of its threads.
const MAX_ARGON2_KIB: u32 = 256 << 10;

/// Maximum product of Argon2's memory in KiB and its passes, which takes about three seconds.
const MAX_ARGON2_WORK: u64 = 4 << 20;

/// How to make a line that can be used.
const ANOTHER: &str = "write another by `htpasswd -B FILE USER`";

/// The users of a file, each with the hash of the password.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Users(pub Vec<(String, Secret)>);

/// A line that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {number}: {why}")]
pub struct BadLine {
    /// Number of the line, from 1.
    pub number: usize,
    why: LineError,
}

/// The reason why a line can't be used. It never contains the hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum LineError {
    #[error("it is not UTF-8 text")]
    NotText,
    #[error("no colon: write `user:hash`, as htpasswd -B does")]
    NoColon,
    #[error("the user's name is empty or longer than {MAX_NAME_BYTES} bytes")]
    Name,
    #[error("the user has a line already")]
    Twice,
    #[error("a hash by {0}, which is too weak; {ANOTHER}")]
    Weak(&'static str),
    #[error("a hash by {0}, which is not supported; {ANOTHER}")]
    Unsupported(&'static str),
    #[error("no hash by bcrypt, SHA-crypt or Argon2, but perhaps the password itself; {ANOTHER}")]
    NoHash,
    #[error("the hash by {0} is incomplete or malformed; {ANOTHER}")]
    Malformed(&'static str),
    #[error("the hash by {0} costs more than {1}; {ANOTHER}")]
    Costly(&'static str, &'static str),
}

impl Users {
    /// Parses a file. Empty lines and comments, which begin with `#`, count as absent. A line that can't be used leaves
    /// the others in force.
    #[must_use]
    pub fn parse(content: &[u8]) -> (Self, Vec<BadLine>) {
        let (mut users, mut names, mut bad) = (Vec::new(), BTreeSet::new(), Vec::new());
        for (number, line) in (1..).zip(content.split(|byte| *byte == b'\n')) {
            let parsed = parse_line(line).and_then(|entry| match entry {
                Some((name, _)) if !names.insert(name.to_owned()) => Err(LineError::Twice),
                entry => Ok(entry),
            });
            match parsed {
                Ok(None) => {}
                Ok(Some((name, hash))) => users.push((name.to_owned(), Secret::new(hash.to_owned()))),
                Err(why) => bad.push(BadLine { number, why }),
            }
        }
        (Self(users), bad)
    }
}

/// Parses a line. Further fields after another colon are comments, as in Apache and nginx.
fn parse_line(line: &[u8]) -> Result<Option<(&str, &str)>, LineError> {
    let line = std::str::from_utf8(line).map_err(|_| LineError::NotText)?.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (name, rest) = line.split_once(':').ok_or(LineError::NoColon)?;
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return Err(LineError::Name);
    }
    let hash = rest.split(':').next().unwrap_or_default();
    check_hash(hash)?;
    Ok(Some((name, hash)))
}

/// Checks form and cost of a hash.
fn check_hash(hash: &str) -> Result<(), LineError> {
    let Some((scheme, rest)) = hash.strip_prefix('$').and_then(|rest| rest.split_once('$')) else {
        return Err(match hash {
            _ if hash.starts_with("{SHA}") => LineError::Weak("SHA-1 ({SHA})"),
            _ if hash.len() == 13 && is_crypt(hash) => LineError::Weak("DES (crypt)"),
            _ => LineError::NoHash,
        });
    };
    match scheme {
        "2a" | "2b" | "2y" => bcrypt(rest),
        "5" => sha_crypt(rest, 43),
        "6" => sha_crypt(rest, 86),
        "argon2id" | "argon2i" | "argon2d" => argon2(rest),
        "apr1" => Err(LineError::Weak("MD5 of Apache ($apr1$)")),
        "1" => Err(LineError::Weak("MD5 ($1$)")),
        "y" | "gy" => Err(LineError::Unsupported("yescrypt ($y$)")),
        "7" => Err(LineError::Unsupported("scrypt ($7$)")),
        _ => Err(LineError::NoHash),
    }
}

/// Whether a text consists of the 64 characters of crypt(5).
fn is_crypt(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/'))
}

fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn bcrypt(rest: &str) -> Result<(), LineError> {
    let cost =
        rest.split_once('$').filter(|(cost, value)| cost.len() == 2 && value.len() == 53 && is_crypt(value));
    match cost.and_then(|(cost, _)| number::<u32>(cost)) {
        Some(cost) if cost > MAX_BCRYPT_COST => Err(LineError::Costly("bcrypt", "16")),
        Some(cost) if cost >= 4 => Ok(()),
        _ => Err(LineError::Malformed("bcrypt")),
    }
}

fn sha_crypt(rest: &str, length: usize) -> Result<(), LineError> {
    const NAME: &str = "SHA-crypt";
    let (rounds, rest) = match rest.strip_prefix("rounds=").map(|rest| rest.split_once('$')) {
        None => (5000, rest),
        Some(Some((rounds, rest))) => (number(rounds).ok_or(LineError::Malformed(NAME))?, rest),
        Some(None) => return Err(LineError::Malformed(NAME)),
    };
    let is_sound = |(salt, value): (&str, &str)| {
        salt.len() <= 16 && is_crypt(salt) && value.len() == length && is_crypt(value)
    };
    match rest.split_once('$').is_some_and(is_sound) {
        true if rounds > *SHA_CRYPT_ROUNDS.end() => Err(LineError::Costly(NAME, "5000000 rounds")),
        true if rounds >= *SHA_CRYPT_ROUNDS.start() => Ok(()),
        _ => Err(LineError::Malformed(NAME)),
    }
}

fn argon2(rest: &str) -> Result<(), LineError> {
    const NAME: &str = "Argon2";
    let mut fields = rest.split('$');
    let mut field = || fields.next().ok_or(LineError::Malformed(NAME));
    if field()? != "v=19" {
        return Err(LineError::Unsupported("Argon2 of a version before 1.3"));
    }
    let costs: Vec<_> = field()?.split(',').collect();
    let [memory, passes, lanes] = costs[..] else { return Err(LineError::Malformed(NAME)) };
    let cost = |text: &str, name| number::<u32>(text.strip_prefix(name)?).filter(|cost| *cost > 0);
    let (Some(memory), Some(passes), Some(_)) = (cost(memory, "m="), cost(passes, "t="), cost(lanes, "p="))
    else {
        return Err(LineError::Malformed(NAME));
    };
    let is_base64 = |text: &str| {
        text.len() >= 11
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
    };
    let (salt, value) = (field()?, field()?);
    match is_base64(salt) && is_base64(value) && field().is_err() {
        true if memory > MAX_ARGON2_KIB => Err(LineError::Costly(NAME, "256 MiB of memory")),
        true if u64::from(memory) * u64::from(passes) > MAX_ARGON2_WORK => {
            Err(LineError::Costly(NAME, "4 GiB of memory in all passes"))
        }
        true => Ok(()),
        false => Err(LineError::Malformed(NAME)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BCRYPT: &str = "$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC";
    const SHA_256: &str = "$5$rounds=1000$saltstring$0123456789012345678901234567890123456789012";
    const ARGON2: &str =
        "$argon2id$v=19$m=4096,t=3,p=1$c29tZXNhbHQ$iWh06vD8Fy27wf9npn6FXWiCX4K6pW6Ue1Bnzz07Z8A";

    fn why(line: &str) -> Option<String> {
        let (_, bad) = Users::parse(line.as_bytes());
        bad.first().map(ToString::to_string)
    }

    #[test]
    fn a_file_has_a_user_in_each_line() {
        let text = format!("# users\n\nanna:{BCRYPT}\r\n bert:{SHA_256}:comment\nc d\u{e4}:{ARGON2}");
        let (users, bad) = Users::parse(text.as_bytes());
        assert_eq!(bad, []);
        let found: Vec<_> = users.0.iter().map(|(name, hash)| (name.as_str(), hash.reveal())).collect();
        assert_eq!(found, [("anna", BCRYPT), ("bert", SHA_256), ("c d\u{e4}", ARGON2)]);
    }

    #[test]
    fn a_bad_line_is_named_and_leaves_the_others() {
        let text = format!("anna:{BCRYPT}\nbert:secret\nanna:{BCRYPT}\nceci:{BCRYPT}");
        let (users, bad) = Users::parse(text.as_bytes());
        assert_eq!(users.0.len(), 2);
        assert_eq!(bad.iter().map(|line| line.number).collect::<Vec<_>>(), [2, 3]);
        let told = bad[0].to_string();
        assert!(
            told.starts_with("line 2: ")
                && told.contains("`htpasswd -B FILE USER`")
                && !told.contains("secret")
        );
    }

    #[test]
    fn hashes_that_are_weak_costly_or_malformed_are_rejected() {
        for (hash, part) in [
            ("$apr1$x$y", "$apr1$"),
            ("$1$x$y", "$1$"),
            ("$y$j9T$x$y", "yescrypt"),
            ("{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=", "SHA-1"),
            ("rOwAlMNhHHHi6", "DES"),
            ("secret", "the password itself"),
            ("", "the password itself"),
            ("$9$x$y", "the password itself"),
            (&BCRYPT[..59], "malformed"),
            (&BCRYPT.replace("$05$", "$17$"), "costs more than 16"),
            (&BCRYPT.replace("$05$", "$99$"), "costs more than 16"),
            (&BCRYPT.replace("$05$", "$03$"), "malformed"),
            (&BCRYPT.replace("$05$", "$+5$"), "malformed"),
            (&SHA_256.replace("1000", "999"), "malformed"),
            (&SHA_256.replace("1000", "5000001"), "costs more"),
            (&SHA_256.replace("1000", "99999999999"), "malformed"),
            (&SHA_256.replace("saltstring", "saltstringsaltstring"), "malformed"),
            (&SHA_256.replace("$5$", "$6$"), "malformed"),
            ("$6$rounds=1000", "malformed"),
            (&ARGON2.replace("m=4096", "m=262145"), "256 MiB"),
            (&ARGON2.replace("t=3", "t=1025"), "4 GiB"),
            (&ARGON2.replace("v=19", "v=16"), "before 1.3"),
            (&ARGON2.replace(",p=1", ""), "malformed"),
            (&ARGON2.replace("t=3", "t=0"), "malformed"),
            (&format!("{ARGON2}$x"), "malformed"),
            ("$argon2id$v=19$m=4096,t=3,p=1$c29tZXNhbHQ", "malformed"),
        ] {
            let told = why(&format!("anna:{hash}")).unwrap_or_default();
            assert!(told.contains(part), "{hash}: {told}");
        }
        for line in ["anna", ":x", &format!("{}:x", "a".repeat(256))] {
            assert!(why(line).is_some(), "{line}");
        }
        assert!(!Users::parse(b"\xff:x").1.is_empty());
    }
}
