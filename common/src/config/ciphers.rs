//! Cipher suites of TLS 1.2, selected in the syntax of OpenSSL (openssl-ciphers(1)). As in OpenSSL, such a
//! list does not affect the suites of TLS 1.3.

use serde::{Serialize, Serializer};
use thiserror::Error;

use super::option::OptionError;
use super::value::{Rejected, Value, quoted, text_value};

/// Number of a suite in the protocol (RFC 5246 section 7.4.1.2).
pub type SuiteNumber = u16;

/// A parsed list of ciphers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ciphers {
    text: String,
    suites: Vec<SuiteNumber>,
    dropped: Vec<String>,
}

/// The list selects no suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no supported cipher suite")]
pub struct NoCipher;

struct Suite {
    name: &'static str,
    number: SuiteNumber,
    /// Groups of the suite, in addition to [`ALL_GROUPS`].
    groups: &'static [&'static str],
    /// Key length in bits.
    strength: u16,
}

/// All supported suites, in OpenSSL's order of preference.
const SUITES: [Suite; 6] = [
    suite(
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        0xc02c,
        &["ECDSA", "aECDSA", "AES", "AES256", "AESGCM", "FIPS"],
        256,
    ),
    suite("ECDHE-RSA-AES256-GCM-SHA384", 0xc030, &["aRSA", "AES", "AES256", "AESGCM", "FIPS"], 256),
    suite("ECDHE-ECDSA-CHACHA20-POLY1305", 0xcca9, &["ECDSA", "aECDSA", "CHACHA20"], 256),
    suite("ECDHE-RSA-CHACHA20-POLY1305", 0xcca8, &["aRSA", "CHACHA20"], 256),
    suite(
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        0xc02b,
        &["ECDSA", "aECDSA", "AES", "AES128", "AESGCM", "FIPS"],
        128,
    ),
    suite("ECDHE-RSA-AES128-GCM-SHA256", 0xc02f, &["aRSA", "AES", "AES128", "AESGCM", "FIPS"], 128),
];

/// Groups that contain all suites.
const ALL_GROUPS: [&str; 8] = ["ALL", "HIGH", "TLSv1.2", "ECDH", "ECDHE", "EECDH", "kECDHE", "kEECDH"];

const fn suite(
    name: &'static str,
    number: SuiteNumber,
    groups: &'static [&'static str],
    strength: u16,
) -> Suite {
    Suite { name, number, groups, strength }
}

impl Suite {
    /// Whether `word` selects the suite: it is its name, or a combination of its groups with `+`.
    fn is_in(&self, word: &str) -> bool {
        word == self.name
            || word.split('+').all(|group| ALL_GROUPS.contains(&group) || self.groups.contains(&group))
    }
}

impl Ciphers {
    /// Parses a list.
    ///
    /// # Errors
    ///
    /// Fails if the list selects no suite.
    pub fn parse(text: &str) -> Result<Self, NoCipher> {
        let mut chosen: Vec<&Suite> = Vec::new();
        let mut excluded: Vec<SuiteNumber> = Vec::new();
        let mut dropped = Vec::new();
        let words = text.split([':', ',', ';', ' ']).filter(|word| !word.is_empty());
        for (index, word) in words.enumerate() {
            let (sign, name) = match word.split_at_checked(1) {
                Some((sign @ ("!" | "-" | "+" | "@"), name)) => (sign, name),
                _ => ("", word),
            };
            // DEFAULT is valid at the beginning only.
            let is_default = index == 0 && (word == "DEFAULT" || word.starts_with("DEFAULT@"));
            let meant = |suite: &Suite| is_default || suite.is_in(name);
            match sign {
                "!" => {
                    chosen.retain(|suite| !meant(suite));
                    excluded.extend(SUITES.iter().filter(|suite| meant(suite)).map(|suite| suite.number));
                }
                "-" => chosen.retain(|suite| !meant(suite)),
                "+" => chosen.sort_by_key(|suite| meant(suite)),
                "@" if name == "STRENGTH" => {
                    chosen.sort_by_key(|suite| std::cmp::Reverse(suite.strength));
                }
                // Security levels exclude suites that are not supported here anyway.
                "@" => {}
                _ => {
                    let found: Vec<_> = SUITES.iter().filter(|suite| meant(suite)).collect();
                    if found.is_empty() {
                        dropped.push(word.to_owned());
                    }
                    for suite in found {
                        let has = chosen.iter().any(|other| other.number == suite.number);
                        if !has && !excluded.contains(&suite.number) {
                            chosen.push(suite);
                        }
                    }
                }
            }
        }
        if chosen.is_empty() {
            return Err(NoCipher);
        }
        let suites = chosen.iter().map(|suite| suite.number).collect();
        Ok(Self { text: text.to_owned(), suites, dropped })
    }

    /// Parses the value of `--ssl-ciphers`.
    pub(super) fn from_option(text: &str) -> Result<Self, OptionError> {
        Self::parse(text).map_err(|error| {
            let help = format!("the supported suites of TLS 1.2 are {}", Self::all_names());
            OptionError::new(format!("'{}' names {error}", text.escape_debug()), help)
        })
    }

    /// The selected suites of TLS 1.2, in the order of preference.
    #[must_use]
    pub fn suites(&self) -> &[SuiteNumber] {
        &self.suites
    }

    /// A warning about names that select no supported suite, if there are any.
    #[must_use]
    pub fn remark(&self) -> Option<String> {
        if self.dropped.is_empty() {
            return None;
        }
        let names = self.dropped.join(", ");
        let hint = if self.dropped.iter().any(|name| name.starts_with("TLS_")) {
            " (this list is for TLS 1.2; all suites of TLS 1.3 stay)"
        } else {
            ""
        };
        Some(format!("no supported cipher suite is named by {}{hint}", names.escape_debug()))
    }

    /// Names of all supported suites, separated by commas.
    #[must_use]
    pub fn all_names() -> String {
        SUITES.map(|suite| suite.name).join(", ")
    }
}

impl Value for Ciphers {
    const EXPECTED: &'static str = "a list of cipher suites as OpenSSL has it, in quotes";

    fn from_text(text: &str) -> Result<Self, Rejected> {
        Self::parse(text).map_err(|error| {
            let help = format!("the supported suites of TLS 1.2 are {}", Self::all_names());
            Rejected::new(format!("{} names {error}", quoted(text)), help)
        })
    }
}

text_value!(Ciphers);

impl Serialize for Ciphers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The selected suites in short: letter of the key type and bits or `CHA`, such as `E256` for ECDSA with
    /// AES256.
    fn chosen(text: &str) -> String {
        let short =
            [(0xc02c, "E256"), (0xc030, "R256"), (0xcca9, "ECHA"), (0xcca8, "RCHA"), (0xc02b, "E128")];
        let Ok(ciphers) = Ciphers::parse(text) else { return "none".to_owned() };
        let names = ciphers
            .suites()
            .iter()
            .map(|number| short.iter().find(|(other, _)| other == number).map_or("R128", |(_, name)| name));
        names.collect::<Vec<_>>().join(" ")
    }

    /// The selections of OpenSSL 3.0, less the suites that are not supported here.
    #[test]
    fn lists_select_the_suites_that_openssl_does() {
        for (text, expected) in [
            ("HIGH:!aNULL", "E256 R256 ECHA RCHA E128 R128"),
            ("DEFAULT", "E256 R256 ECHA RCHA E128 R128"),
            ("DEFAULT@SECLEVEL=2", "E256 R256 ECHA RCHA E128 R128"),
            ("ALL:!DEFAULT", "E256 R256 ECHA RCHA E128 R128"),
            ("ALL:@STRENGTH", "E256 R256 ECHA RCHA E128 R128"),
            ("ECDHE+AESGCM", "E256 R256 E128 R128"),
            ("aRSA", "R256 RCHA R128"),
            ("ECDSA", "E256 ECHA E128"),
            ("AES128:AES256", "E128 R128 E256 R256"),
            ("ALL:+AES256", "ECHA RCHA E128 R128 E256 R256"),
            ("CHACHA20+ECDSA", "ECHA"),
            ("AESGCM+AES128", "E128 R128"),
            ("DEFAULT:!AESGCM", "ECHA RCHA"),
            ("HIGH,!AES128", "E256 R256 ECHA RCHA"),
            ("HIGH:-AES128:+CHACHA20", "E256 R256 ECHA RCHA"),
            ("FIPS", "E256 R256 E128 R128"),
            ("EECDH+ECDSA:EECDH+aRSA+AES256", "E256 ECHA E128 R256"),
            ("ECDHE-RSA-AES128-GCM-SHA256 ECDHE-ECDSA-AES128-GCM-SHA256", "R128 E128"),
            ("ECDHE-RSA-AES128-GCM-SHA256:FOO", "R128"),
            ("!AES128:ALL", "E256 R256 ECHA RCHA"),
            ("RSA", "none"),
            ("SHA256", "none"),
            ("AES128-SHA:DHE", "none"),
            ("TLS_AES_128_GCM_SHA256", "none"),
            ("@STRENGTH", "none"),
            ("ALL:!ALL", "none"),
            ("", "none"),
        ] {
            assert_eq!(chosen(text), expected, "{text}");
        }
    }

    #[test]
    fn names_without_a_suite_are_listed() {
        let remark = |text: &str| Ciphers::parse(text).unwrap().remark();
        assert_eq!(remark("HIGH:!MD5:!aNULL"), None);
        let expected = "no supported cipher suite is named by AES256-SHA, DHE";
        assert_eq!(remark("ALL:AES256-SHA:DHE").as_deref(), Some(expected));
        assert!(remark("ALL:TLS_AES_128_GCM_SHA256").unwrap().contains("all suites of TLS 1.3 stay"));
    }
}
