//! The life of a connection as a state machine: its states, how each event changes them, and what has to be done
//! then. It has no clock and does no I/O.

use common::ipc::GatewayId;
use serde::{Deserialize, Serialize};

/// Gateways that may die while a connection waits there unread before it is given up: a connection that crashes one
/// gateway must not crash all of them.
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
/// A gateway's report never replaces what only the connector knows: a connection without a target that leaves its
/// gateway is `Closing` until the connector has confirmed that it has given it no target and never will, or has died.
/// A connection that returns to `Waiting` gets a new number, so that each number belongs to one gateway at most and
/// late messages about the earlier number are not taken for the later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) enum State {
    /// No gateway has it.
    Waiting {
        /// Gateways that have died while it waited there unread.
        deaths: u8,
    },
    /// It is being sent to a gateway.
    Offered {
        /// The gateway.
        gateway: GatewayId,
        /// As in `Waiting`.
        deaths: u8,
    },
    /// A gateway has it and has not begun to read: the supervisor holds a copy of its socket.
    Unread {
        /// The gateway.
        gateway: GatewayId,
        /// As in `Waiting`.
        deaths: u8,
        /// A connector has died since then, which may have given it a target without reporting it.
        doubt: bool,
    },
    /// Its gateway reads from it.
    Reading {
        /// The gateway.
        gateway: GatewayId,
        /// As in `Unread`.
        doubt: bool,
    },
    /// It is a session: it has a target.
    Open {
        /// The gateway.
        gateway: GatewayId,
    },
    /// Its gateway has finished with it or has died, and the connector has yet to say whether it has a target.
    Closing {
        /// The gateway.
        gateway: GatewayId,
        /// What becomes of it if it has no target.
        then: Then,
        /// As in `Unread`.
        doubt: bool,
    },
    /// The table forgets it.
    Over,
}

/// What becomes of a connection that turns out to have no target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) enum Then {
    /// It goes to another gateway, because nobody has begun to read it.
    Offer {
        /// Gateways that have died while it waited there unread.
        deaths: u8,
    },
    /// It ends.
    Drop,
    /// Its gateway has reported a session, which is impossible without a target.
    Claim,
}

/// An event in the life of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Event {
    /// The supervisor begins to send it to a gateway.
    Offered(GatewayId),
    /// It was sent to the gateway.
    Delivered,
    /// It could not be sent to the gateway.
    Undelivered,
    /// It can't be sent to any gateway.
    Abandoned,
    /// A gateway reports something about it.
    Reported(GatewayId, GatewayReport),
    /// A gateway has died, and everything that it had reported has been processed.
    GatewayDied(GatewayId),
    /// The connector reports that it has given it a target.
    Dialled,
    /// The connector confirms, after everything else that it had to report, that it gives it no target from now on;
    /// or there is no connector.
    Settled,
    /// The connector has died. Everything that it had reported has been processed.
    ConnectorDied,
    /// It has been unread for longer than a client may be silent.
    Overdue,
}

/// What a gateway reports about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum GatewayReport {
    /// It is about to be read.
    Acknowledged,
    /// Its socket could not be received.
    Lost,
    /// It has ended.
    Ended {
        /// Whether it was a session.
        session: bool,
    },
    /// A detail that only the gateway of a living connection has reason to report: its request, or that a recording
    /// is wanted.
    Detail,
}

/// What has to be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Effects {
    /// Offer it to a gateway, under a new number.
    pub(super) offer: bool,
    /// Ask the connector to settle it.
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
    /// The gateway that has it or is being sent it.
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

    /// Whether the supervisor holds its socket, so that another gateway can get it. While it is being sent, the
    /// message holds the socket.
    pub(super) fn holds_socket(self) -> bool {
        matches!(
            self,
            Self::Waiting { .. } | Self::Unread { .. } | Self::Closing { then: Then::Offer { .. }, .. }
        )
    }

    /// Whether no gateway has it.
    pub(super) fn is_waiting(self) -> bool {
        matches!(self, Self::Waiting { .. } | Self::Offered { .. })
    }

    /// Whether a gateway has it and has not begun to read.
    pub(super) fn is_unread(self) -> bool {
        matches!(self, Self::Unread { .. })
    }

    /// Whether it has a target.
    pub(super) fn is_session(self) -> bool {
        matches!(self, Self::Open { .. })
    }

    /// Whether a connector that starts now may give it a target.
    pub(super) fn may_have_target(self) -> bool {
        self.is_waiting() || matches!(self, Self::Unread { .. } | Self::Reading { .. })
    }
}

/// The next state after an event, and what has to be done.
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
        // The sender learns that it could not be sent; a connection that has ended waits for the connector.
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
        // It was returned as unread, or its gateway died without acknowledging it. A gateway that works correctly
        // asks for no target for such a connection.
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
        // The connection can contradict the gateway no longer.
        State::Closing { gateway, then, .. } => settled(State::Closing { gateway, then, doubt: true }),
        State::Waiting { .. } | State::Offered { .. } | State::Open { .. } | State::Over => unchanged(state),
    }
}
