//! Close frames (RFC 6455 section 5.5.1 and 7.4) and the protocol violations that cause them.

use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// Maximum payload of a control frame in bytes (RFC 6455 section 5.5).
pub const MAX_CONTROL: usize = 125;

/// The payload of a control frame. On the heap, since every session has room for some and few ever have one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlPayload(Vec<u8>);

impl ControlPayload {
    /// An empty payload.
    pub const EMPTY: Self = Self(Vec::new());

    /// The payload's bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// Appends `more`, truncated to the space that is left.
    pub fn extend(&mut self, more: &[u8]) {
        let room = MAX_CONTROL.saturating_sub(self.0.len());
        self.0.extend_from_slice(&more[..more.len().min(room)]);
    }

    /// Creates the payload of a Close frame from a status code and a reason.
    #[must_use]
    pub fn close(code: CloseCode, reason: &str) -> Self {
        let mut payload = Self::EMPTY;
        payload.extend(&u16::from(code).to_be_bytes());
        payload.extend(reason.as_bytes());
        payload
    }
}

/// How a client breaks the protocol, or uses a part of it that we don't serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A frame without a mask. Clients must mask theirs (RFC 6455 section 5.1).
    Unmasked,
    /// A reserved bit is set, although no extension was negotiated.
    ReservedBits,
    /// An undefined opcode.
    UnknownOpcode(u8),
    /// A text message, while only binary messages are accepted.
    Text,
    /// A control frame longer than [`MAX_CONTROL`].
    LongControl,
    /// A fragmented control frame.
    FragmentedControl,
    /// A continuation frame without a message to continue.
    UnexpectedContinuation,
    /// A new message before the last fragment of the previous one.
    ExpectedContinuation,
    /// A length with its highest bit set, or not in its shortest form (RFC 6455 section 5.2).
    BadLength,
    /// A Close frame with a payload of one byte.
    BadClosePayload,
    /// A status code that may not be sent in a Close frame.
    BadCloseCode,
    /// A reason that is not valid UTF-8.
    BadCloseReason,
}

impl Violation {
    /// The Close frame that answers the violation.
    #[must_use]
    pub fn payload(self) -> ControlPayload {
        let protocol = |text| ControlPayload::close(CloseCode::Protocol, text);
        match self {
            Self::Unmasked => protocol("Protocol error: Frame not masked"),
            Self::ReservedBits => protocol("Protocol error: Reserved bits are set"),
            Self::UnknownOpcode(opcode) => {
                let reason = format!("Unsupported: Unknown opcode 0x{opcode:02x}");
                ControlPayload::close(CloseCode::Unsupported, &reason)
            }
            Self::Text => {
                ControlPayload::close(CloseCode::Unsupported, "Unsupported: Text frames are not supported")
            }
            Self::LongControl => protocol("Protocol error: Control frame too long"),
            Self::FragmentedControl => protocol("Protocol error: Fragmented control frame"),
            Self::UnexpectedContinuation => protocol("Protocol error: Unexpected continuation frame"),
            Self::ExpectedContinuation => protocol("Protocol error: Expected continuation frame"),
            Self::BadLength => protocol("Protocol error: Malformed length"),
            Self::BadClosePayload => protocol("Protocol error: Invalid close frame"),
            Self::BadCloseCode => protocol("Protocol error: Invalid close code"),
            Self::BadCloseReason => ControlPayload::close(CloseCode::Invalid, "Close reason is not UTF-8"),
        }
    }
}

/// A Close frame received from the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// Status code; 1005 if there is none (RFC 6455 section 7.4.1).
    pub code: u16,
    /// Payload of the Close frame that answers, equal to the received one.
    pub echo: ControlPayload,
}

/// Parses the payload of a client's Close frame.
///
/// # Errors
///
/// The violation, if the payload is not valid.
pub fn read(payload: ControlPayload) -> Result<Close, Violation> {
    match payload.as_slice() {
        [] => Ok(Close { code: CloseCode::Status.into(), echo: payload }),
        [_] => Err(Violation::BadClosePayload),
        &[high, low, ref reason @ ..] => {
            let code = u16::from_be_bytes([high, low]);
            if !CloseCode::from(code).is_allowed() {
                return Err(Violation::BadCloseCode);
            }
            std::str::from_utf8(reason).map_err(|_| Violation::BadCloseReason)?;
            Ok(Close { code, echo: payload })
        }
    }
}
