//! The limits of sources, which the connector asks about for the clients of trusted proxies.

use serde::{Deserialize, Serialize};

/// Answer to the question whether the source of a client is over a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SourceVerdict {
    /// The client is served. Its connection counts for its source.
    Served,
    /// The client is turned away.
    TurnedAway {
        /// Time after which the client may try again, in seconds.
        retry_after: u32,
    },
    /// The connection has ended meanwhile.
    Over,
}
