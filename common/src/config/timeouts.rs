//! The tables `[timeouts]` and `[limits]`, which are sent to roles unchanged.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration::{WithUnit, WithUnitOrOff};

/// Time limits of the steps of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Timeouts {
    /// From the connection to the client's first byte.
    #[serde(with = "WithUnit")]
    pub first_byte: Duration,
    /// The whole TLS handshake.
    #[serde(with = "WithUnit")]
    pub tls_handshake: Duration,
    /// A complete HTTP request. Also the time for which a connection without a request is kept open.
    #[serde(with = "WithUnit")]
    pub request_head: Duration,
    /// Resolving the target's name and connecting, over all of its addresses.
    #[serde(with = "WithUnit")]
    pub connect: Duration,
    /// How long a closing session is kept while neither side accepts data.
    ///
    /// A session that the service itself ends (by order of an administrator, lifetime, idle timeout, protocol
    /// violation or reload) is kept no longer than this in total.
    #[serde(with = "WithUnit")]
    pub close_handshake: Duration,
    /// Closes a session after this time without data in either direction. Pings don't count.
    #[cfg_attr(test, schemars(example = &"2h"))]
    #[serde(with = "WithUnitOrOff")]
    pub idle: Option<Duration>,
    /// From the order to stop until all sessions have ended.
    #[serde(with = "WithUnit")]
    pub stop: Duration,
    /// How long sessions may continue after a reload with the configuration that they began with.
    ///
    /// Then they are closed with code 1012. By default there is no limit, as a desktop may be open for weeks.
    #[serde(with = "WithUnitOrOff")]
    pub drain: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            // The value of the original.
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

/// Limits on resources that clients use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Limits {
    /// Maximum number of connections; further clients wait. Default: as many as the limit of open files
    /// permits.
    #[cfg_attr(test, schemars(example = 500))]
    pub connections: Option<NonZeroU32>,
    /// Maximum number of requests on one connection.
    pub keep_alive_requests: NonZeroU32,
    /// Maximum length of a request's head in bytes, from the request line to the empty line, at most 1048576.
    ///
    /// Longer ones are answered with 431. Each connection may hold this much memory until
    /// `timeouts.request-head`.
    // Reverse proxies forward 32 to 60 KiB in their usual settings.
    pub request_head_bytes: NonZeroU32,
    /// Maximum number of header fields of a request, at most 4096. More are answered with 431.
    // Browsers send about 20, and reverse proxies forward up to 100.
    pub request_fields: NonZeroU32,
    /// Maximum number of bytes that each gateway keeps, over all of its sessions, because a client or a target does
    /// not accept them.
    ///
    /// A session whose other side does not read keeps up to 16 KiB, 32 KiB with TLS. Beyond this limit it keeps up to
    /// 1 KiB, and all other sessions read at most 16 KiB at a time. The socket buffers of the kernel are not included.
    // Enough for 4,000 sessions whose other side does not read.
    pub unsent_bytes: NonZeroU32,
    /// Maximum number of earlier configurations whose sessions continue after reloads.
    ///
    /// Each has its own processes, which take some MiB. Beyond the limit, the sessions of the oldest are
    /// closed with code 1012.
    pub generations: NonZeroU32,
}

impl Limits {
    /// Upper bound of `request-head-bytes`.
    pub(super) const MAX_REQUEST_HEAD_BYTES: u32 = 1 << 20;

    /// Upper bound of `request-fields`. The parser reserves 64 bytes for each.
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
            unsent_bytes: const { number(64 << 20) },
            generations: const { number(8) },
        }
    }
}
