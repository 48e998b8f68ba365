//! Listeners of clients.

use std::fmt;
use std::ops::Deref;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::value::{self, Element, Value};
use crate::addr::ListenAddr;

/// A listener of clients: an address, or a table with more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where to listen.
    pub address: ListenAddr,
    /// Connections of the peers in `proxy.trusted` begin with a header of the PROXY protocol; default: false.
    pub proxy_protocol: bool,
}

/// The form of a listener with more than an address.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Table {
    address: ListenAddr,
    #[serde(default)]
    proxy_protocol: bool,
}

impl Deref for Listener {
    type Target = ListenAddr;

    fn deref(&self) -> &ListenAddr {
        &self.address
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

impl From<ListenAddr> for Listener {
    fn from(address: ListenAddr) -> Self {
        Self { address, proxy_protocol: false }
    }
}

impl Serialize for Listener {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.clone() {
            Self { address, proxy_protocol: false } => address.serialize(serializer),
            Self { address, proxy_protocol } => Table { address, proxy_protocol }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Listener {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListenerVisitor)
    }
}

struct ListenerVisitor;

impl<'de> Visitor<'de> for ListenerVisitor {
    type Value = Listener;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, or a table with `address` and `proxy-protocol`", ListenAddr::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Listener, E> {
        ListenAddr::from_text(text).map(Listener::from).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Listener, E> {
        value::read::<ListenAddr, _>(number.into_deserializer()).map(Listener::from)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Listener, A::Error> {
        let Table { address, proxy_protocol } = Table::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Listener { address, proxy_protocol })
    }
}

impl Element for Listener {
    const EXPECTED_MANY: &'static str =
        "an address such as \"6080\", \"[::1]:6080\" or \"unix:/path\", or a list of them";
}
