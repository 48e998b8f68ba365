//! Why a session ends, and the Close frame that says so (RFC 6455 section 5.5.1 and 7.4).

use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// Longest payload of a control frame (RFC 6455 section 5.5).
pub const MAX_CONTROL: usize = 125;

/// The payload of a control frame.
#[derive(Clone, Copy, Debug)]
pub struct ControlPayload {
    len: u8,
    bytes: [u8; MAX_CONTROL],
}

impl ControlPayload {
    /// No payload.
    pub const EMPTY: Self = Self { len: 0, bytes: [0; MAX_CONTROL] };

    /// The payload's bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len.into()]
    }

    /// Adds `more`, as far as there is room.
    pub fn extend(&mut self, more: &[u8]) {
        for byte in more {
            if let Some(place) = self.bytes.get_mut(usize::from(self.len)) {
                *place = *byte;
                self.len += 1;
            }
        }
    }

    /// The payload of a Close frame: a status code and a reason.
    #[must_use]
    pub fn close(code: CloseCode, reason: &str) -> Self {
        let mut payload = Self::EMPTY;
        payload.extend(&u16::from(code).to_be_bytes());
        payload.extend(reason.as_bytes());
        payload
    }
}

impl PartialEq for ControlPayload {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for ControlPayload {}

/// How a client breaks the protocol, or uses a part of it that we don't serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A client must mask its frames.
    Unmasked,
    /// Reserved bits, which no extension has given a meaning.
    ReservedBits,
    /// An opcode without a meaning.
    UnknownOpcode(u8),
    /// Text, while only binary messages are served.
    Text,
    /// A control frame longer than [`MAX_CONTROL`].
    LongControl,
    /// A control frame in fragments.
    FragmentedControl,
    /// A continuation of no message.
    UnexpectedContinuation,
    /// A new message within the fragments of another.
    ExpectedContinuation,
    /// A length with its highest bit set, or not in its shortest form (RFC 6455 section 5.2).
    BadLength,
    /// A Close frame whose payload is a single byte.
    BadClosePayload,
    /// A status code that must not be sent.
    BadCloseCode,
    /// A reason that is not UTF-8.
    BadCloseReason,
}

impl Violation {
    /// The Close frame to answer with.
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

/// A Close frame that a client has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close {
    /// Its status code; 1005 for none (RFC 6455 section 7.4.1).
    pub code: u16,
    /// The payload of the Close frame that answers: the same.
    pub echo: ControlPayload,
}

/// Reads the payload of a client's Close frame.
///
/// # Errors
///
/// When it says nothing that may be said.
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
