//! Tables that may be written as `true` or `false`.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A table that may be written as `true`, which stands for its defaults, or `false`, which stands for none.
pub(super) trait Switch: Default + PartialEq {
    /// Description of valid values, to follow "expected".
    const EXPECTED: &'static str;

    /// Whether the table has no key with a default, so that a table of defaults is empty.
    const IS_EMPTY_BY_DEFAULT: bool;
}

/// Serialises an optional table that may be a switch. For `#[serde(with = "TrueOrTable::<T>")]`.
pub(super) struct TrueOrTable<T>(PhantomData<T>);

impl<T: Switch + Serialize> TrueOrTable<T> {
    pub(super) fn serialize<S: Serializer>(table: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
        match table {
            Some(table) if T::IS_EMPTY_BY_DEFAULT && *table == T::default() => {
                serializer.serialize_bool(true)
            }
            Some(table) => table.serialize(serializer),
            None => serializer.serialize_bool(false),
        }
    }
}

impl<'de, T: Switch + Deserialize<'de>> TrueOrTable<T> {
    pub(super) fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
        deserializer.deserialize_any(Self(PhantomData))
    }
}

impl<'de, T: Switch + Deserialize<'de>> Visitor<'de> for TrueOrTable<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_bool<E: Error>(self, wanted: bool) -> Result<Self::Value, E> {
        Ok(wanted.then(T::default))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Some)
    }
}
