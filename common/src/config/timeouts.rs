//! Deadlines and bounds. Roles are told these tables as they are.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration::{WithUnit, WithUnitOrOff};

/// Deadlines of each step of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Timeouts {
    /// From the connection to the first byte of the client.
    #[serde(with = "WithUnit")]
    pub first_byte: Duration,
    /// The whole TLS handshake.
    #[serde(with = "WithUnit")]
    pub tls_handshake: Duration,
    /// A whole HTTP request; also how long a connection without a request is kept.
    #[serde(with = "WithUnit")]
    pub request_head: Duration,
    /// Resolving the target's name and connecting, all addresses together.
    #[serde(with = "WithUnit")]
    pub connect: Duration,
    /// How long a session that is closing is kept while neither side takes anything.
    ///
    /// A session that the service ends (an administrator, a lifetime, silence, a violation, a reload) is kept no
    /// longer than this in all.
    #[serde(with = "WithUnit")]
    pub close_handshake: Duration,
    /// Silence in both directions of a session, after which it is closed. Pings don't count.
    #[cfg_attr(test, schemars(example = &"2h"))]
    #[serde(with = "WithUnitOrOff")]
    pub idle: Option<Duration>,
    /// From the order to stop to the end of all sessions.
    #[serde(with = "WithUnit")]
    pub stop: Duration,
    /// How long sessions may go on after a reload, under the configuration that they began with.
    ///
    /// Then they are closed with code 1012. By default they go on as long as they like: a desktop may be open for
    /// weeks.
    #[serde(with = "WithUnitOrOff")]
    pub drain: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            // As the original.
            first_byte: Duration::from_secs(3),
            tls_handshake: Duration::from_secs(10),
            request_head: Duration::from_secs(10),
            connect: Duration::from_secs(10),
            close_handshake: Duration::from_secs(5),
            idle: None,
            stop: Duration::from_secs(2),
            drain: None,
        }
    }
}

/// Bounds on what clients may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Limits {
    /// Connections at a time; further clients wait. Default: as many as the limit of open files allows.
    #[cfg_attr(test, schemars(example = 500))]
    pub connections: Option<NonZeroU32>,
    /// Requests on one connection.
    pub keep_alive_requests: NonZeroU32,
    /// Bytes of a request's head, from its first line to the empty one, at most 1048576.
    ///
    /// A longer one is answered with 431. As much memory may be held for each connection until `timeouts.request-head`.
    // Proxies in front pass on 32 to 60 KiB in their usual settings.
    pub request_head_bytes: NonZeroU32,
    /// Fields of a request's head, at most 4096. More are answered with 431.
    // Browsers send about 20, proxies in front let 100 pass.
    pub request_fields: NonZeroU32,
    /// Earlier configurations whose sessions go on after reloads.
    ///
    /// Each has processes of its own, which take some MiB. The sessions of the oldest are closed with code 1012.
    pub generations: NonZeroU32,
}

impl Limits {
    /// The most that `request-head-bytes` may be.
    pub(super) const MAX_REQUEST_HEAD_BYTES: u32 = 1 << 20;

    /// The most that `request-fields` may be: the parser reserves 64 bytes for each.
    pub(super) const MAX_REQUEST_FIELDS: u32 = 4096;
}

impl Default for Limits {
    fn default() -> Self {
        const fn number(number: u32) -> NonZeroU32 {
            NonZeroU32::new(number).expect("is not zero")
        }
        Self {
            connections: None,
            keep_alive_requests: const { number(1000) },
            request_head_bytes: const { number(64 << 10) },
            request_fields: const { number(128) },
            generations: const { number(8) },
        }
    }
}
