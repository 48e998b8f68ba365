//! Deserialisation of JSON objects.
//!
//! serde also accepts an array for a struct, with the fields in the order of their declaration. Nobody writes
//! such JSON in good faith, and its meaning changes with each new field.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Parses a text that consists of one JSON object.
///
/// # Errors
///
/// Fails if the text is anything else, or if the object does not match `T`.
#[expect(clippy::disallowed_methods, reason = "`Object` rejects arrays")]
pub fn object<T: DeserializeOwned>(text: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(text).map(|Object(value)| value)
}

/// Deserialises a value that must be an object. For `deserialize_with`.
///
/// # Errors
///
/// Fails if the value is anything else, or if the object does not match `T`.
pub fn field<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    Object::deserialize(deserializer).map(|Object(value)| value)
}

/// Deserialises an array whose elements must be objects. For `deserialize_with`.
///
/// # Errors
///
/// Fails if the value is anything else, or if an object does not match `T`.
pub fn fields<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let objects = Vec::deserialize(deserializer)?;
    Ok(objects.into_iter().map(|Object(value)| value).collect())
}

/// A value that was written as an object.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Object<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(Members(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Inner {
        x: u8,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Outer {
        #[serde(deserialize_with = "field")]
        one: Inner,
        #[serde(deserialize_with = "fields")]
        many: Vec<Inner>,
    }

    #[test]
    fn an_array_is_rejected_for_a_struct() {
        let read = |text: &str| object::<Outer>(text.as_bytes()).ok();
        let x = |x| Inner { x };
        assert_eq!(
            read(r#" {"one": {"x": 1}, "many": [{"x": 2}]} "#),
            Some(Outer { one: x(1), many: vec![x(2)] })
        );
        for wrong in [
            r#"[{"x":1},[{"x":2}]]"#,
            r#"{"one":[1],"many":[{"x":2}]}"#,
            r#"{"one":{"x":1},"many":[[2]]}"#,
            r#"{"one":{"x":1},"many":[]} {}"#,
            r#"{"one":{"x":1},"one":{"x":1},"many":[]}"#,
            "null",
            "",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
