//! Cipher suites of TLS 1.2, chosen as OpenSSL does (openssl-ciphers(1)). Those of TLS 1.3 are always
//! offered, as with OpenSSL's cipher list.

use serde::{Serialize, Serializer};
use thiserror::Error;

use super::option::OptionError;
use super::value::{Rejected, Value, quoted, text_value};

/// A suite by its two bytes in a handshake (RFC 5246 section 7.4.1.2).
pub type SuiteNumber = u16;

/// What a list of ciphers comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ciphers {
    text: String,
    suites: Vec<SuiteNumber>,
    dropped: Vec<String>,
}

/// No suite is left over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no cipher suite that there is here")]
pub struct NoCipher;

struct Suite {
    name: &'static str,
    number: SuiteNumber,
    /// Names of groups that it is in, beside those of all.
    groups: &'static [&'static str],
    /// Bits of its key.
    strength: u16,
}

/// All suites, in OpenSSL's order.
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

/// Groups that all of them are in.
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
    /// Whether `word` means it: its name, or groups that it is in, joined by `+`.
    fn is_in(&self, word: &str) -> bool {
        word == self.name
            || word.split('+').all(|group| ALL_GROUPS.contains(&group) || self.groups.contains(&group))
    }
}

impl Ciphers {
    /// Understands a list.
    ///
    /// # Errors
    /// If no suite remains.
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
            // The default stands at the beginning only.
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
                // Levels of security concern what there is not here.
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

    /// The value of `--ssl-ciphers`.
    pub(super) fn from_option(text: &str) -> Result<Self, OptionError> {
        Self::parse(text).map_err(|error| {
            let help = format!("for TLS 1.2 there are {}", Self::all_names());
            OptionError::new(format!("'{}' names {error}", text.escape_debug()), help)
        })
    }

    /// The suites of TLS 1.2, the preferred one first.
    #[must_use]
    pub fn suites(&self) -> &[SuiteNumber] {
        &self.suites
    }

    /// A remark about names that stand for nothing here, if there are any.
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
        Some(format!("no cipher suite here is meant by {}{hint}", names.escape_debug()))
    }

    /// The names of all suites that can be chosen.
    #[must_use]
    pub fn all_names() -> String {
        SUITES.map(|suite| suite.name).join(", ")
    }
}

impl Value for Ciphers {
    const EXPECTED: &'static str = "a list of cipher suites as OpenSSL has it, in quotes";

    fn from_text(text: &str) -> Result<Self, Rejected> {
        Self::parse(text).map_err(|error| {
            let help = format!("for TLS 1.2 there are {}", Self::all_names());
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

    /// The suites that a list comes to, as letter and bits or as `CHA`: `E256` with a key of ECDSA.
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

    /// What OpenSSL 3.0 makes of these lists, without the suites that there are only there.
    #[test]
    fn lists_come_to_what_they_do_in_openssl() {
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
    fn what_stands_for_nothing_is_named() {
        let remark = |text: &str| Ciphers::parse(text).unwrap().remark();
        assert_eq!(remark("HIGH:!MD5:!aNULL"), None);
        let expected = "no cipher suite here is meant by AES256-SHA, DHE";
        assert_eq!(remark("ALL:AES256-SHA:DHE").as_deref(), Some(expected));
        assert!(remark("ALL:TLS_AES_128_GCM_SHA256").unwrap().contains("all suites of TLS 1.3 stay"));
    }
}
