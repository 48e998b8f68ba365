//! JSON Schema (draft 7) of each value type. The names of the schemas are those that the manual page uses.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::json;

use super::super::auth::{Auth, AuthTable};
use super::super::carrier::{Carrier, TokenPath};
use super::super::duration::{WithUnit, WithUnitOrOff};
use super::super::log::LogFormat;
use super::super::per_source::{Penalties, PerSource};
use super::super::site::{HostPattern, OriginPattern};
use super::super::switch::TrueOrTable;
use super::super::tls::TargetTls;
use super::super::token::TokenRefusal;
use super::super::top::OctalMode;
use super::super::value::OneOrMany;
use super::super::wrap::Words;
use super::super::{
    Ciphers, FilePath, Listener, MAX_WORKERS, Name, Prefix, ProxyHeader, ProxyProtocol, Sandbox, SecretFile,
    SyslogServer, TextMessages, TlsVersion, Workers, WrapMode,
};
use crate::addr::{ListenAddr, TargetAddr};
use crate::destinations::Destinations;
use crate::networks::Networks;

macro_rules! schema {
    ($($type:ty, $name:literal, $schema:tt;)+) => {$(
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )+};
}

schema! {
    FilePath, "path", {"type": "string", "minLength": 1};
    SecretFile, "path", {"type": "string", "minLength": 1};
    Name, "name", {"type": "string", "minLength": 1};
    TargetAddr, "address", {"type": "string", "minLength": 1};
    ListenAddr, "address", {"anyOf": [
        {"type": "string", "minLength": 1},
        {"type": "integer", "minimum": 0, "maximum": 65535},
    ]};
    // Not `anyOf`, by which the documents recognize tables.
    Listener, "listener", {"oneOf": [
        {"type": "string", "minLength": 1},
        {"type": "integer", "minimum": 0, "maximum": 65535},
        {
            "type": "object",
            "properties": {
                "address": {"anyOf": [
                    {"type": "string", "minLength": 1},
                    {"type": "integer", "minimum": 0, "maximum": 65535},
                ]},
                "proxy-protocol": {"type": "boolean"},
            },
            "required": ["address"],
            "additionalProperties": false,
        },
    ]};
    Ciphers, "text", {"type": "string", "minLength": 1};
    SyslogServer, "text", {"type": "string", "minLength": 1};
    OctalMode, "mode", {"type": "string", "pattern": "^[0-7]{1,4}$"};
    Sandbox, "sandbox", {"enum": Sandbox::WORDS};
    ProxyProtocol, "proxy-protocol", {"enum": ProxyProtocol::WORDS};
    TextMessages, "text-messages", {"enum": TextMessages::WORDS};
    TokenRefusal, "refusal", {"enum": TokenRefusal::WORDS};
    TokenPath, "token-path", {"type": "string", "pattern": "^(/[0-9A-Za-z._~-]+)*/\\{token\\}(/[0-9A-Za-z._~-]+)*/?$"};
    Prefix, "prefix", {"type": "string", "pattern": "^(/[0-9A-Za-z._~-]+)+$"};
    LogFormat, "format", {"enum": LogFormat::WORDS};
    WrapMode, "wrap-mode", {"enum": WrapMode::WORDS};
    ProxyHeader, "proxy-header", {"enum": ProxyHeader::WORDS};
    Destinations, "destinations", {"anyOf": [
        {"type": "string", "minLength": 1},
        {"type": "array", "items": {"type": "string", "minLength": 1}},
    ]};
    Networks, "networks", {"anyOf": [
        {"type": "string", "minLength": 1},
        {"type": "array", "items": {"type": "string", "minLength": 1}},
    ]};
    TlsVersion, "tls-version", {"enum": ["1.2", "1.3"]};
    Workers, "number", {"anyOf": [
        {"const": "auto"},
        {"type": "integer", "minimum": 1, "maximum": MAX_WORKERS},
    ]};
    WithUnit, "duration", {"type": "string", "pattern": "^\\s*[0-9]+\\s*(ms|s|m|h|d)\\s*$"};
    WithUnitOrOff, "duration-or-off", {"type": "string", "pattern": "^(off|\\s*[0-9]+\\s*(ms|s|m|h|d)\\s*)$"};
    Words, "list", {
        "type": "array", "minItems": 1,
        "items": [{"type": "string", "minLength": 1}], "additionalItems": {"type": "string"},
    };
    Environment, "table", {
        "type": "object",
        "propertyNames": {"pattern": "^[^=]+$"},
        "additionalProperties": {"type": "string"},
    };
}

/// Environment variables by name.
pub(in crate::config) struct Environment;

impl JsonSchema for OneOrMany<Listener> {
    fn schema_name() -> Cow<'static, str> {
        "listeners".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<Listener>();
        json_schema!({"anyOf": [one, {"type": "array", "items": one}]})
    }
}

impl JsonSchema for OneOrMany<HostPattern> {
    fn schema_name() -> Cow<'static, str> {
        "hosts".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        one_or_list(r"^(\*\.)?([0-9A-Za-z_-]+\.?)+$|^\[[0-9A-Fa-f:.]+\]$")
    }
}

impl JsonSchema for OneOrMany<OriginPattern> {
    fn schema_name() -> Cow<'static, str> {
        "origins".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        one_or_list(r"^(\*|null|[A-Za-z][0-9A-Za-z+.-]*://[^/]+)$")
    }
}

impl JsonSchema for OneOrMany<Carrier> {
    fn schema_name() -> Cow<'static, str> {
        "carriers".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let one = json!({"enum": Carrier::WORDS});
        json_schema!({"anyOf": [one, {"type": "array", "minItems": 1, "items": one}]})
    }
}

/// A text with this pattern, or a list of them.
fn one_or_list(pattern: &str) -> Schema {
    let one = json!({"type": "string", "pattern": pattern});
    json_schema!({"anyOf": [one, {"type": "array", "items": one}]})
}

impl JsonSchema for OneOrMany<Auth> {
    fn schema_name() -> Cow<'static, str> {
        "auth".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<AuthTable>();
        json_schema!({"anyOf": [one, {"type": "array", "items": one}]})
    }
}

macro_rules! switch {
    ($($table:ty, $name:literal;)+) => {$(
        impl JsonSchema for TrueOrTable<$table> {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                json_schema!({"anyOf": [{"type": "boolean"}, generator.subschema_for::<$table>()]})
            }
        }
    )+};
}

switch! {
    TargetTls, "target-tls-flag";
    PerSource, "per-source-flag";
    Penalties, "penalties-flag";
}

/// Requires exactly one of the keys that select the target.
pub(in crate::config) fn one_target(schema: &mut Schema) {
    let choices = json!([
        {"required": ["target"], "not": {"required": ["token"]}},
        {"required": ["token"], "not": {"required": ["target"]}},
        {"required": ["wrap"], "not": {"anyOf": [{"required": ["target"]}, {"required": ["token"]}]}},
        {"required": ["demo"], "properties": {"demo": {"const": true}}},
    ]);
    schema.insert("anyOf".to_owned(), choices);
}

/// Requires the directory, unless there are only origins of pages or a prefix.
pub(in crate::config) fn files(schema: &mut Schema) {
    let no = json!({"const": false});
    let choices = json!([
        {"required": ["root"]},
        {"required": ["origins"], "properties": {"listing": no, "auth": no}},
        {"required": ["prefix"], "properties": {"listing": no, "auth": no}},
    ]);
    schema.insert("anyOf".to_owned(), choices);
}

fn has_users_file(schema: &Schema) -> bool {
    schema.get("properties").is_some_and(|keys| keys.get("users-file").is_some())
}

/// Requires a source or a source file, unless the plugin is external or has a source of its own.
pub(in crate::config) fn source(schema: &mut Schema) {
    let external =
        json!({"properties": {"plugin": {"pattern": "^(exec:|unix:|https?:|[^:]+\\.|SignedLink$)"}}});
    let mut choices = json!([{"required": ["source"]}, {"required": ["source-file"]}, external]);
    if let (Some(choices), true) = (choices.as_array_mut(), has_users_file(schema)) {
        choices.push(json!({
            "required": ["users-file"], "properties": {"plugin": {"pattern": "BasicHTTPAuth$"}},
            "not": {"anyOf": [{"required": ["source"]}, {"required": ["source-file"]}]},
        }));
    }
    schema.insert("anyOf".to_owned(), choices);
    schema.insert("not".to_owned(), json!({"required": ["source", "source-file"]}));
}
