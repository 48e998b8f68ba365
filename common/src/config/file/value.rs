//! How serde reads the values in the file, with messages that say what would be right; `kinds` has the
//! types. Errors raised here get the value's place from the `toml` crate.

mod kinds;

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Unexpected, Visitor};

use super::error::HELP;
use super::written::{AuthKeys, TargetTlsKeys};
use crate::addr::ListenAddr;
pub(super) use kinds::{Mode, Port};

/// A type that is written as a string, and perhaps as a number.
pub(super) trait Written: Sized {
    /// What is expected, after "expected".
    const EXPECTED: &'static str;

    /// From a string, or with a problem and a help.
    fn from_text(text: &str) -> Result<Self, (String, String)>;

    /// From a number; `None` if that is no such value.
    fn from_number(_number: i64) -> Option<Self> {
        None
    }

    /// What to do about a number that is no such value.
    fn help_for_number(number: &str) -> String {
        format!("write it in quotes: \"{number}\"")
    }
}

/// Makes a [`Written`] type readable by serde.
#[derive(Debug)]
pub(super) struct Value<T>(pub(super) T);

impl<'de, T: Written> Deserialize<'de> for Value<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WrittenVisitor(PhantomData)).map(Self)
    }
}

struct WrittenVisitor<T>(PhantomData<T>);

/// An error about a number where none can be, or not this one.
fn wrong_number<T: Written, E: Error>(number: Unexpected<'_>, digits: &str) -> E {
    E::custom(format!("expected {}, found {number}{HELP}{}", T::EXPECTED, T::help_for_number(digits)))
}

impl<T: Written> Visitor<'_> for WrittenVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        T::from_text(text).map_err(|(problem, help)| E::custom(format!("{problem}{HELP}{help}")))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        T::from_number(number)
            .ok_or_else(|| wrong_number::<T, E>(Unexpected::Signed(number), &number.to_string()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        Err(wrong_number::<T, E>(Unexpected::Float(number), &number.to_string()))
    }
}

/// One listener or a list of them.
#[derive(Debug)]
pub(super) struct Listeners(pub(super) Vec<ListenAddr>);

impl<'de> Deserialize<'de> for Listeners {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListenersVisitor).map(Self)
    }
}

struct ListenersVisitor;

impl<'de> Visitor<'de> for ListenersVisitor {
    type Value = Vec<ListenAddr>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, or a list of them", ListenAddr::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        WrittenVisitor(PhantomData).visit_str(text).map(|addr| vec![addr])
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        WrittenVisitor(PhantomData).visit_i64(number).map(|addr| vec![addr])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut listeners = Vec::new();
        while let Some(Value(addr)) = list.next_element()? {
            listeners.push(addr);
        }
        Ok(listeners)
    }
}

/// `true`, `false`, or a table.
#[derive(Debug)]
pub(super) struct TargetTlsValue(pub(super) Option<TargetTlsKeys>);

impl<'de> Deserialize<'de> for TargetTlsValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TargetTlsVisitor).map(Self)
    }
}

struct TargetTlsVisitor;

impl<'de> Visitor<'de> for TargetTlsVisitor {
    type Value = Option<TargetTlsKeys>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true, false or a table with `ca-file` and `server-name`")
    }

    fn visit_bool<E: Error>(self, wanted: bool) -> Result<Self::Value, E> {
        Ok(wanted.then(TargetTlsKeys::default))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        TargetTlsKeys::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(Some)
    }
}

/// A table `[auth]`, or several `[[auth]]`.
#[derive(Debug)]
pub(super) struct AuthTables(pub(super) Vec<AuthKeys>);

impl<'de> Deserialize<'de> for AuthTables {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AuthVisitor).map(Self)
    }
}

struct AuthVisitor;

impl<'de> Visitor<'de> for AuthVisitor {
    type Value = Vec<AuthKeys>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table [auth], or several [[auth]], with `plugin` and `source` or `source-file`")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        AuthKeys::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(|keys| vec![keys])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut tables = Vec::new();
        while let Some(keys) = list.next_element()? {
            tables.push(keys);
        }
        Ok(tables)
    }
}
