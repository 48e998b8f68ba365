//! Limits for each source of connections, and penalties: the tables `[per-source]` and `[penalties]`.

use std::num::{NonZeroU8, NonZeroU32};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration::{WithUnit, WithUnitOrOff};
use super::switch::Switch;
use crate::ipc::offence::Offence;
use crate::networks::Networks;

/// Limits for each source of connections: a network of clients, or a user of unix sockets.
///
/// A connection beyond a limit is closed as soon as it is accepted. A client of a proxy in `proxy.trusted` counts by its own
/// address, and its request is answered with 429. `per-source = false` at the top of the file switches
/// all of these limits off, which is the default on the command line.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct PerSource {
    /// Number of leading bits by which IPv4 addresses are one source, at most 32.
    pub ipv4_prefix: NonZeroU8,
    /// Number of leading bits by which IPv6 addresses are one source, at most 128.
    ///
    /// A site usually has a /56 or a /48 of its own (RFC 6177).
    pub ipv6_prefix: NonZeroU8,
    /// Networks to which neither these limits nor penalties apply. `"unix"` stands for all clients on unix sockets.
    ///
    /// By default clients on the same machine, as a reverse proxy there forwards clients of all sources. A proxy on another
    /// machine belongs here too, unless it is in `proxy.trusted`.
    pub exempt: Networks,
    /// Maximum number of connections without a session.
    pub connections: NonZeroU32,
    /// Maximum number of sessions. Default: no limit.
    ///
    /// It is looked at when a connection comes: those that are there already may become sessions beyond it.
    #[cfg_attr(test, schemars(example = 100))]
    pub sessions: Option<NonZeroU32>,
    /// Maximum number of new connections per second, on average over 10 seconds.
    pub rate: NonZeroU32,
    /// Maximum number of TLS handshakes per second, on average over 10 seconds. Beyond it all new connections are closed.
    pub tls_rate: NonZeroU32,
    /// Number of connections without a session, of all sources together, from which new ones are dropped at random. Where
    /// there are few places, a third of those that are left by sessions and exempt clients, if that is less.
    ///
    /// The probability grows until there are twice as many. Sources with fewer of these connections than the average are
    /// dropped less often, and those that have none are not. There are as many places as `limits.connections` says, and no
    /// more than the limit of open files allows: one for two files in each worker, or for three with `record`.
    pub early_drop: NonZeroU32,
}

impl Switch for PerSource {
    const EXPECTED: &'static str = "true, false or a table with `connections`, `sessions` and `rate`";
    const IS_EMPTY_BY_DEFAULT: bool = false;
}

impl PerSource {
    /// Upper bounds of the prefixes.
    pub(super) const MAX_IPV4_PREFIX: u8 = 32;
    pub(super) const MAX_IPV6_PREFIX: u8 = 128;
}

impl Default for PerSource {
    fn default() -> Self {
        const fn number(number: u32) -> NonZeroU32 {
            NonZeroU32::new(number).expect("is not zero")
        }
        const fn prefix(length: u8) -> NonZeroU8 {
            NonZeroU8::new(length).expect("is not zero")
        }
        // A browser opens six connections for a page: enough for a class behind one address.
        Self {
            ipv4_prefix: const { prefix(32) },
            ipv6_prefix: const { prefix(56) },
            exempt: Networks::this_machine(),
            connections: const { number(256) },
            sessions: None,
            rate: const { number(100) },
            tls_rate: const { number(50) },
            early_drop: const { number(1000) },
        }
    }
}

/// Penalties for what clients do, as in OpenSSH (`PerSourcePenalties`): each adds some seconds to its source
/// (`[per-source]`), and they pass as time does.
///
/// New connections of a source are closed as soon as they are accepted from the moment on at which its penalties reach
/// `threshold`, until all of them have passed. Sessions continue. `penalties = false` at the top of the file switches
/// penalties off, which is the default on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Penalties {
    /// Sum of penalties at which a source is turned away.
    #[serde(with = "WithUnit")]
    pub threshold: Duration,
    /// Largest sum of penalties.
    #[serde(with = "WithUnit")]
    pub maximum: Duration,
    /// A wrong user name or password, or another refusal of an authentication plugin.
    ///
    /// A request without any credentials, as browsers send first, has no penalty.
    #[serde(with = "WithUnitOrOff")]
    pub wrong_password: Option<Duration>,
    /// No token, or one that leads to no target.
    #[serde(with = "WithUnitOrOff")]
    pub unknown_token: Option<Duration>,
    /// A page whose origin is not allowed, or a host that is not the instance's.
    #[serde(with = "WithUnitOrOff")]
    pub refused_origin: Option<Duration>,
    /// A request or frame that breaks HTTP or WebSocket.
    #[serde(with = "WithUnitOrOff")]
    pub protocol_violation: Option<Duration>,
    /// No complete request within the `[timeouts]`.
    ///
    /// Browsers open connections in advance that they may not use.
    #[serde(with = "WithUnitOrOff")]
    pub no_request: Option<Duration>,
    /// A gateway process that crashed while it read requests. All sources whose requests it was reading share the penalty,
    /// or else those of its sessions.
    #[serde(with = "WithUnitOrOff")]
    pub crash: Option<Duration>,
}

impl Switch for Penalties {
    const EXPECTED: &'static str = "true, false or a table with `threshold` and `wrong-password`";
    const IS_EMPTY_BY_DEFAULT: bool = false;
}

impl Penalties {
    /// The penalty of an offence; `None` if it has none.
    #[must_use]
    pub fn of(&self, offence: Offence) -> Option<Duration> {
        match offence {
            Offence::WrongPassword => self.wrong_password,
            Offence::UnknownToken => self.unknown_token,
            Offence::RefusedOrigin => self.refused_origin,
            Offence::ProtocolViolation => self.protocol_violation,
            Offence::NoRequest => self.no_request,
            Offence::Crash => self.crash,
        }
    }
}

impl Default for Penalties {
    fn default() -> Self {
        Self {
            // A class of thirty may mistype a dozen passwords at once.
            threshold: Duration::from_secs(60),
            // More than a wrong password on each of the connections that a source may have at a time.
            maximum: Duration::from_secs(30 * 60),
            // Whoever guesses gets one guess in this time, about 700 in an hour.
            wrong_password: Some(Duration::from_secs(5)),
            unknown_token: Some(Duration::from_secs(1)),
            refused_origin: Some(Duration::from_secs(1)),
            protocol_violation: Some(Duration::from_secs(1)),
            no_request: Some(Duration::from_millis(250)),
            crash: Some(Duration::from_secs(30)),
        }
    }
}
