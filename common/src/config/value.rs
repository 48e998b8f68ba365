//! Values that are written as text in the file, and their error messages. The `toml` crate adds the place to
//! errors.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use serde::de::value::MapAccessDeserializer;
use serde::de::{
    Deserialize, Deserializer, Error, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor,
};
use serde::{Serialize, Serializer};

/// Separates the message from the help text. Errors pass through serde as one string.
pub(crate) const HELP: &str = "\nhelp: ";

/// Precedes the name of the offending key in such a message, if the error is about a table.
pub(super) const KEY: &str = "\nkey: ";

/// The reason why a value is rejected, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rejected {
    pub(super) text: String,
    pub(super) help: String,
    /// The offending key of a table, if the table was parsed as a whole.
    pub(super) key: Option<&'static str>,
}

impl Rejected {
    pub(crate) fn new(text: impl Into<String>, help: impl Into<String>) -> Self {
        Self { text: text.into(), help: help.into(), key: None }
    }

    /// The table of a plugin has both `source` and `source-file`.
    pub(super) fn two_sources() -> Self {
        Self::at("source-file", "`source-file` can't be used with `source`", "leave one of the two out")
    }

    pub(super) fn at(key: &'static str, text: impl Into<String>, help: impl Into<String>) -> Self {
        Self { text: text.into(), help: help.into(), key: Some(key) }
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{HELP}{}", self.text, self.help)?;
        self.key.map_or(Ok(()), |key| write!(f, "{KEY}{key}"))
    }
}

/// A type that is written as a string, and possibly as a number.
pub(crate) trait Value: Sized {
    /// Description of valid values, to follow "expected".
    const EXPECTED: &'static str;

    /// Parses a string.
    fn from_text(text: &str) -> Result<Self, Rejected>;

    /// Converts a number; `None` if it is not a valid value.
    fn from_number(_number: i64) -> Option<Self> {
        None
    }

    /// Help for a number that is not a valid value.
    fn help_for_number(number: &str) -> String {
        format!("write it in quotes: \"{number}\"")
    }
}

/// Deserialises a [`Value`] from TOML.
pub(crate) fn read<'de, T: Value, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_any(ValueVisitor(PhantomData))
}

/// Implements `Deserialize` for a [`Value`].
macro_rules! text_value {
    ($type:ty) => {
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::config::value::read(deserializer)
            }
        }
    };
}
pub(crate) use text_value;

struct ValueVisitor<T>(PhantomData<T>);

/// An error about a number that is not a valid value.
fn wrong_number<T: Value, E: Error>(number: Unexpected<'_>, digits: &str) -> E {
    E::custom(format!("expected {}, found {number}{HELP}{}", T::EXPECTED, T::help_for_number(digits)))
}

impl<T: Value> Visitor<'_> for ValueVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        T::from_text(text).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        T::from_number(number)
            .ok_or_else(|| wrong_number::<T, E>(Unexpected::Signed(number), &number.to_string()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        Err(wrong_number::<T, E>(Unexpected::Float(number), &number.to_string()))
    }
}

pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.escape_debug())
}

/// A non-empty name without control characters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Name(String);

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Name {
    /// Converts the value of an option. An empty value is kept, as it means none.
    fn from(name: &str) -> Self {
        Self(name.to_owned())
    }
}

impl Value for Name {
    const EXPECTED: &'static str = "a name in quotes";

    fn from_text(text: &str) -> Result<Self, Rejected> {
        if text.is_empty() || text.contains(char::is_control) {
            let help = "write the name, or leave the key out";
            return Err(Rejected::new(format!("{} is not a name", quoted(text)), help));
        }
        Ok(Self::from(text))
    }
}

text_value!(Name);

/// Declares an enum whose values are written as words.
macro_rules! words {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
        pub enum $name { $($(#[$variant_meta])* $variant,)+ }

        impl $name {
            /// All values, as written in the file.
            pub const WORDS: &[&str] = &[$($word),+];

            /// The value as written in the file and on the command line.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::config::option::OptionError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(Self::Err::choice(text, Self::WORDS)),
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::config::value::word(deserializer, Self::WORDS)
            }
        }
    };
}
pub(super) use words;

/// Parses one of the `words` of an enum.
pub(super) fn word<'de, T, D>(deserializer: D, words: &'static [&'static str]) -> Result<T, D::Error>
where
    T: std::str::FromStr,
    D: Deserializer<'de>,
{
    let visitor = WordVisitor(words, PhantomData);
    if deserializer.is_human_readable() {
        deserializer.deserialize_any(visitor)
    } else {
        deserializer.deserialize_str(visitor)
    }
}

struct WordVisitor<T>(&'static [&'static str], PhantomData<T>);

impl<T: std::str::FromStr> Visitor<'_> for WordVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&either(self.0))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        let help = format!("write {}", either(self.0));
        text.parse().map_err(|_| E::custom(Rejected::new(format!("unknown value {}", quoted(text)), help)))
    }
}

/// Formats alternatives: `"a", "b" or "c"`.
fn either(words: &[&str]) -> String {
    match words {
        [rest @ .., last] if !rest.is_empty() => format!("\"{}\" or \"{last}\"", rest.join("\", \"")),
        words => words.concat(),
    }
}

/// Serialises a list that may be written as a single value. For `#[serde(with = "OneOrMany::<T>")]`.
pub(crate) struct OneOrMany<T>(PhantomData<T>);

/// A type that may be written once or as a list.
pub(crate) trait Element {
    /// Description of valid values, to follow "expected".
    const EXPECTED_MANY: &'static str;
}

impl<'de, T: Deserialize<'de> + Element> OneOrMany<T> {
    pub(crate) fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
        deserializer.deserialize_any(Self(PhantomData))
    }
}

impl<T: Serialize> OneOrMany<T> {
    pub(crate) fn serialize<S: Serializer>(list: &[T], serializer: S) -> Result<S::Ok, S::Error> {
        match list {
            [one] => one.serialize(serializer),
            list => list.serialize(serializer),
        }
    }
}

impl<'de, T: Deserialize<'de> + Element> Visitor<'de> for OneOrMany<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED_MANY)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Vec<T>, E> {
        T::deserialize(text.into_deserializer()).map(|one| vec![one])
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Vec<T>, E> {
        T::deserialize(number.into_deserializer()).map(|one| vec![one])
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vec<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(|one| vec![one])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut all = Vec::new();
        // `toml` adds the place to errors of an optional element, but not to those of a plain one.
        while let Some(one) = list.next_element::<Option<T>>()? {
            all.extend(one);
        }
        Ok(all)
    }
}
