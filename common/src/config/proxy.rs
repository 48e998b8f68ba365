//! Reverse proxies in front of the instance.

use serde::{Deserialize, Serialize};

use super::value::words;
use crate::networks::Networks;

/// Reverse proxies in front of the instance, which tell the addresses of their clients.
#[derive(Clone, Debug, PartialEq, Eq, Default, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Proxy {
    /// Networks of the proxies whose word about the address of a client is believed: `"10.1.0.0/16"`, an address, or
    /// `"unix"` for all peers on unix sockets. By default nobody is believed.
    ///
    /// The address of a client is the right-most one in the chain of proxies that is not in these networks. Log, session
    /// records and plugins use it. `X-Forwarded-Host` and `X-Forwarded-Proto` of such a proxy count for `hosts`
    /// and `web.origins`. A proxy that is named here must set or extend the header, and not pass on one
    /// of its client's.
    #[cfg_attr(test, schemars(example = &"127.0.0.0/8"))]
    pub trusted: Networks,
    /// The header in which proxies name their clients: `"forwarded"`, `"x-forwarded-for"`, `"x-real-ip"`, or `"any"`.
    ///
    /// Clients can send the headers that a proxy passes on without setting them. With `"any"`, a request whose headers
    /// name different clients is answered with 400.
    pub header: ProxyHeader,
}

words! {
    /// The header that names a proxy's client.
    pub enum ProxyHeader {
        /// Each of the others. They must not contradict each other.
        #[default]
        Any = "any",
        /// `Forwarded` (RFC 7239).
        Forwarded = "forwarded",
        /// `X-Forwarded-For`.
        XForwardedFor = "x-forwarded-for",
        /// `X-Real-IP`, which names the client of the nearest proxy alone.
        XRealIp = "x-real-ip",
    }
}
