//! The life of a connection as a state machine: its states, how each event changes them, and the
//! consequences. It has no clock and does no I/O.

use common::ipc::GatewayId;
use serde::{Deserialize, Serialize};

/// Number of gateways that may die with a connection unread before it is dropped: a connection that crashes
/// one gateway must not crash all of them.
const MAX_DEATHS: u8 = 2;

/// The state of a connection.
///
/// ```text
///             Offered           Delivered          Acknowledged
///   Waiting ──────────► Offered ─────────► Unread ─────────────► Reading
///    ▲   ▲                 │                │   │                │   │
///    │   └── Undelivered ──┘        Dialled │   │        Dialled │   │ Ended, GatewayDied
///    │                                      └───┼─────► Open ◄───┘   │
///    │                                          │        │           │
///    │         Lost, Ended, GatewayDied         ▼        │           │
///    └────────────────── Settled ──────────── Closing ◄──┼───────────┘
///       (nobody has begun to read it)           │        │
///                                               │        │ Ended, GatewayDied
///                               Settled, Dialled└─► Over ◄┘
/// ```
///
/// A gateway's report never replaces what only the connector knows: when a connection without a target leaves
/// its gateway, it is `Closing` until the connector confirms that it has given it no target and never will,
/// or until the connector has died. A connection that returns to `Waiting` gets a new number, so that each
/// number belongs to one gateway at most, and late messages about the earlier number can't be attributed to
/// the later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) enum State {
    /// The connection has no gateway.
    Waiting {
        /// Number of gateways that have died with the connection unread.
        deaths: u8,
    },
    /// The connection is being sent to a gateway.
    Offered {
        /// The gateway.
        gateway: GatewayId,
        /// As in `Waiting`.
        deaths: u8,
    },
    /// The connection was sent to a gateway that has not begun to read: the supervisor holds a copy of its
    /// socket.
    Unread {
        /// The gateway.
        gateway: GatewayId,
        /// As in `Waiting`.
        deaths: u8,
        /// A connector has died since then, which may have given the connection a target without reporting
        /// it.
        doubt: bool,
    },
    /// The gateway reads from the connection.
    Reading {
        /// The gateway.
        gateway: GatewayId,
        /// As in `Unread`.
        doubt: bool,
    },
    /// The connection is a session: it has a target.
    Open {
        /// The gateway.
        gateway: GatewayId,
    },
    /// The gateway has finished with the connection or has died, and the connector has yet to report whether
    /// it has a target.
    Closing {
        /// The gateway.
        gateway: GatewayId,
        /// The next step if the connection has no target.
        then: Then,
        /// As in `Unread`.
        doubt: bool,
    },
    /// The connection is removed from the table.
    Over,
}

/// The next step for a connection that turns out to have no target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) enum Then {
    /// Offer it to another gateway, because no gateway has begun to read it.
    Offer {
        /// Number of gateways that have died with the connection unread.
        deaths: u8,
    },
    /// Drop it.
    Drop,
    /// Its gateway has reported a session: a violation, unless a connector that has died may have opened it.
    Claim,
}

/// An event in the life of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Event {
    /// The supervisor begins to send the connection to a gateway.
    Offered(GatewayId),
    /// The connection was sent to the gateway.
    Delivered,
    /// The connection could not be sent to the gateway.
    Undelivered,
    /// The connection can't be sent to any gateway.
    Abandoned,
    /// A gateway reports something about the connection.
    Reported(GatewayId, GatewayReport),
    /// A gateway has died, and all of its reports have been processed.
    GatewayDied(GatewayId),
    /// The connector reports that it has given the connection a target.
    Dialled,
    /// The connector confirms, after all of its other reports, that it gives the connection no target from
    /// now on; or there is no connector.
    Settled,
    /// The connector has died, and all of its reports have been processed.
    ConnectorDied,
    /// The connection has been unread for longer than a client may be silent.
    Overdue,
}

/// A report of a gateway about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum GatewayReport {
    /// The gateway is about to read the connection.
    Acknowledged,
    /// The gateway could not receive the socket.
    Lost,
    /// The connection has ended.
    Ended {
        /// Whether the connection was a session.
        session: bool,
    },
    /// A detail that only the gateway of a living connection has reason to report: its request, or that it is
    /// to be recorded.
    Detail,
}

/// The consequences of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Effects {
    /// Offer the connection to a gateway, under a new number.
    pub(super) offer: bool,
    /// Ask the connector to settle the connection.
    pub(super) settle: bool,
    /// A session begins: count it, and write its opening record.
    pub(super) open: bool,
    /// The session ends: write its closing record.
    pub(super) close: bool,
    /// This gateway has broken protocol.
    pub(super) violation: Option<GatewayId>,
    /// This gateway hangs.
    pub(super) hangs: Option<GatewayId>,
}

impl State {
    /// The gateway that has the connection or is being sent it.
    pub(super) fn gateway(self) -> Option<GatewayId> {
        match self {
            Self::Waiting { .. } | Self::Over => None,
            Self::Offered { gateway, .. }
            | Self::Unread { gateway, .. }
            | Self::Reading { gateway, .. }
            | Self::Open { gateway }
            | Self::Closing { gateway, .. } => Some(gateway),
        }
    }

    /// Whether the supervisor holds the socket, so that another gateway can get the connection. While it is
    /// being sent, the message holds the socket.
    pub(super) fn holds_socket(self) -> bool {
        matches!(
            self,
            Self::Waiting { .. } | Self::Unread { .. } | Self::Closing { then: Then::Offer { .. }, .. }
        )
    }

    /// Whether the connection has no gateway.
    pub(super) fn is_waiting(self) -> bool {
        matches!(self, Self::Waiting { .. } | Self::Offered { .. })
    }

    /// Whether a gateway has the connection and has not begun to read.
    pub(super) fn is_unread(self) -> bool {
        matches!(self, Self::Unread { .. })
    }

    /// Whether the connection has a target.
    pub(super) fn is_session(self) -> bool {
        matches!(self, Self::Open { .. })
    }

    /// Whether a connector that starts now may give the connection a target.
    pub(super) fn may_have_target(self) -> bool {
        self.is_waiting() || matches!(self, Self::Unread { .. } | Self::Reading { .. })
    }
}

/// Returns the next state after an event, and the consequences.
pub(super) fn step(state: State, event: Event) -> (State, Effects) {
    match event {
        Event::Reported(by, report) => reported(state, by, report),
        Event::GatewayDied(gateway) if state.gateway() == Some(gateway) => gateway_died(state, gateway),
        Event::Dialled => dialled(state),
        Event::Settled => settled(state),
        Event::ConnectorDied => connector_died(state),
        Event::Overdue => match state {
            State::Unread { gateway, .. } => (state, Effects { hangs: Some(gateway), ..Effects::default() }),
            _ => unchanged(state),
        },
        Event::Offered(_)
        | Event::Delivered
        | Event::Undelivered
        | Event::Abandoned
        | Event::GatewayDied(_) => (handed_over(state, event), Effects::default()),
    }
}

fn unchanged(state: State) -> (State, Effects) {
    (state, Effects::default())
}

/// The steps of the hand-over, which only the supervisor takes.
fn handed_over(state: State, event: Event) -> State {
    match (state, event) {
        (State::Waiting { deaths }, Event::Offered(gateway)) => State::Offered { gateway, deaths },
        (State::Offered { gateway, deaths }, Event::Delivered) => {
            State::Unread { gateway, deaths, doubt: false }
        }
        (State::Offered { deaths, .. }, Event::Undelivered) => State::Waiting { deaths },
        (State::Waiting { .. } | State::Offered { .. }, Event::Abandoned) => State::Over,
        _ => state,
    }
}

fn reported(state: State, by: GatewayId, report: GatewayReport) -> (State, Effects) {
    let closing = |then, doubt| {
        let effects = Effects { settle: true, ..Effects::default() };
        (State::Closing { gateway: by, then, doubt }, effects)
    };
    let is_own = state.gateway() == Some(by);
    match (state, report) {
        (State::Unread { doubt, .. }, GatewayReport::Acknowledged) if is_own => {
            unchanged(State::Reading { gateway: by, doubt })
        }
        // A target for another gateway's connection, or a second one, has no effect.
        (_, GatewayReport::Acknowledged) => unchanged(state),
        (State::Unread { deaths, doubt, .. }, GatewayReport::Lost) if is_own => {
            closing(Then::Offer { deaths }, doubt)
        }
        (State::Unread { doubt, .. } | State::Reading { doubt, .. }, GatewayReport::Ended { session })
            if is_own =>
        {
            closing(if session { Then::Claim } else { Then::Drop }, doubt)
        }
        (State::Open { .. }, GatewayReport::Ended { .. }) if is_own => {
            (State::Over, Effects { close: true, ..Effects::default() })
        }
        (State::Unread { .. } | State::Reading { .. } | State::Open { .. }, GatewayReport::Detail)
            if is_own =>
        {
            unchanged(state)
        }
        _ => (state, Effects { violation: Some(by), ..Effects::default() }),
    }
}

fn gateway_died(state: State, gateway: GatewayId) -> (State, Effects) {
    let (then, doubt) = match state {
        State::Unread { deaths, doubt, .. } if deaths + 1 < MAX_DEATHS => {
            (Then::Offer { deaths: deaths + 1 }, doubt)
        }
        State::Unread { doubt, .. } | State::Reading { doubt, .. } => (Then::Drop, doubt),
        State::Open { .. } => return (State::Over, Effects { close: true, ..Effects::default() }),
        // The sender learns that the connection could not be sent; one that has ended waits for the
        // connector.
        State::Offered { .. } | State::Closing { .. } | State::Waiting { .. } | State::Over => {
            return unchanged(state);
        }
    };
    (State::Closing { gateway, then, doubt }, Effects { settle: true, ..Effects::default() })
}

fn dialled(state: State) -> (State, Effects) {
    let open = Effects { open: true, ..Effects::default() };
    match state {
        State::Unread { gateway, .. } | State::Reading { gateway, .. } => (State::Open { gateway }, open),
        // The connection was returned as unread, or its gateway died without acknowledging it. A correct
        // gateway requests no target for such a connection.
        State::Closing { gateway, then: Then::Offer { .. }, .. } => {
            (State::Over, Effects { close: true, violation: Some(gateway), ..open })
        }
        State::Closing { .. } => (State::Over, Effects { close: true, ..open }),
        State::Waiting { .. } | State::Offered { .. } | State::Open { .. } | State::Over => unchanged(state),
    }
}

fn settled(state: State) -> (State, Effects) {
    let State::Closing { gateway, then, doubt } = state else { return unchanged(state) };
    match then {
        Then::Offer { deaths } => (State::Waiting { deaths }, Effects { offer: true, ..Effects::default() }),
        Then::Drop => unchanged(State::Over),
        Then::Claim if doubt => (State::Over, Effects { open: true, close: true, ..Effects::default() }),
        Then::Claim => (State::Over, Effects { violation: Some(gateway), ..Effects::default() }),
    }
}

fn connector_died(state: State) -> (State, Effects) {
    match state {
        State::Unread { gateway, deaths, .. } => unchanged(State::Unread { gateway, deaths, doubt: true }),
        State::Reading { gateway, .. } => unchanged(State::Reading { gateway, doubt: true }),
        // No other party can contradict the gateway's report any more.
        State::Closing { gateway, then, .. } => settled(State::Closing { gateway, then, doubt: true }),
        State::Waiting { .. } | State::Offered { .. } | State::Open { .. } | State::Over => unchanged(state),
    }
}
