//! How messages are declared: one table for each direction of each channel.
//!
//! A row of a table says everything about a message: its tag, the phases in which it is legal, its fields, and
//! which of them is a descriptor. The enum, its encoder and decoder, the check of the phase, the rescue of a message
//! whose descriptor was lost, the fuzz target, `docs/messages.md` and the constants of the end-to-end tests
//! (`tests/harness/messages.py`) all come from it.
//!
//! # What may change after a release
//!
//! Roles of one generation are of one version: messages between gateways, connector and signer, and all that a role
//! is told before it is ready, may change at will. Only an in-place upgrade makes two versions meet. A supervisor
//! then goes on with roles that an earlier version has started, so two kinds of messages last:
//!
//! - What such a role tells the supervisor must be understood by each later version. A row whose tag was released
//!   keeps its tag, its fields and its meaning. A message that needs other fields is a new row with the next free
//!   tag, and the old row stays until upgrades from the versions that send it are no longer supported; its tag is
//!   never used again. An enum in a field may get further variants at its end; nothing else in a field may change,
//!   since fields are written without names.
//! - What the supervisor tells such a role must be known to that role. To a role of an earlier version it sends only
//!   rows that were there in version 0.1.0, unless that role has said that it knows more.
//!
//! A new row is compatible in both directions as long as that is observed. Whoever adds one from a role to the
//! supervisor also counts up the version of the upgrade's state, so that no earlier version takes over roles whose
//! words it does not know. A change that can't be made this way counts up [`VERSION`](super::wire::VERSION). An
//! upgrade between two such versions is rejected while it is rehearsed, and the service must be restarted.

use std::fmt;
use std::os::fd::OwnedFd;

use super::ConnectionId;
use super::wire::{self, Encoded, Phase, Reader, WireError};

/// A row of a table: one message.
#[derive(Debug)]
pub struct Row {
    /// Its tag.
    pub tag: u8,
    /// Its name.
    pub name: &'static str,
    /// The name of the constant of its tag.
    pub constant: &'static str,
    /// Its documentation, line by line.
    pub about: &'static [&'static str],
    /// The phases in which it is legal.
    pub phases: &'static [Phase],
    /// The phase that begins with it, if it begins one.
    pub then: Option<Phase>,
    /// Its fields, in the order of their encoding.
    pub fields: &'static [Field],
}

/// A field of a message.
#[derive(Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Its type, as Rust writes it.
    pub kind: &'static str,
    /// Whether it travels as a descriptor beside the datagram.
    pub is_descriptor: bool,
}

/// A message in one direction of a channel. Only [`messages!`] implements it.
pub trait Message: Sized + fmt::Debug {
    /// The name of its enum.
    const NAME: &'static str;
    /// Its sender and its receiver.
    const ENDS: (&'static str, &'static str);
    /// Its table. The conversation begins in the phase of the first row.
    const TABLE: &'static [Row];
    /// The phase in which the conversation begins.
    const BEGINS: Phase = Self::TABLE[0].phases[0];

    /// The datagram and the descriptor that accompanies it.
    ///
    /// # Errors
    ///
    /// When the datagram would be longer than [`MAX_BYTES`](super::wire::MAX_BYTES).
    fn encode(&self) -> Result<Encoded<'_>, WireError>;

    /// The message with this tag.
    ///
    /// # Errors
    ///
    /// When no message has this tag, or its fields and its descriptor are not exactly those of the table.
    fn decode(tag: u8, reader: Reader<'_>) -> Result<Self, WireError>;

    /// The connection that a message concerned whose descriptor was lost.
    ///
    /// # Errors
    ///
    /// When the table names none for it, or its fields are not those of the table.
    fn lost(tag: u8, reader: Reader<'_>) -> Result<ConnectionId, WireError>;
}

/// The phase of the conversation in one direction of a channel, which decides which messages are legal.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conversation(Option<Phase>);

impl Conversation {
    /// A conversation that another program has begun and that is in `phase`.
    #[must_use]
    pub fn resumed(phase: Phase) -> Self {
        Self(Some(phase))
    }

    /// Decodes a datagram, and enters the phase that begins with it.
    ///
    /// # Errors
    ///
    /// When it is not a message of type `M` that is legal in this phase. The channel must be given up.
    pub fn decode<M: Message>(&mut self, datagram: &[u8], fd: Option<OwnedFd>) -> Result<M, WireError> {
        let (tag, reader) = wire::open(datagram, fd)?;
        self.proceed::<M>(tag)?;
        M::decode(tag, reader)
    }

    /// The tag of a message whose descriptor was lost, and the connection that it concerned.
    ///
    /// # Errors
    ///
    /// As [`Self::decode`], and when the table names no connection.
    pub fn lost<M: Message>(&mut self, datagram: &[u8]) -> Result<(u8, ConnectionId), WireError> {
        let (tag, reader) = wire::open(datagram, None)?;
        self.proceed::<M>(tag)?;
        Ok((tag, M::lost(tag, reader)?))
    }

    fn proceed<M: Message>(&mut self, tag: u8) -> Result<(), WireError> {
        let row = M::TABLE.iter().find(|row| row.tag == tag).ok_or(WireError::Tag(tag))?;
        let phase = self.0.unwrap_or(M::BEGINS);
        if !row.phases.contains(&phase) {
            return Err(WireError::Phase(row.name, phase));
        }
        self.0 = Some(row.then.unwrap_or(phase));
        Ok(())
    }
}

/// Decodes a datagram in any phase, for tests.
///
/// # Errors
///
/// When it is not a message of type `M`.
pub fn decode<M: Message>(datagram: &[u8], fd: Option<OwnedFd>) -> Result<M, WireError> {
    let (tag, reader) = wire::open(datagram, fd)?;
    M::decode(tag, reader)
}

/// Declares the messages of one direction.
///
/// ```text
/// messages! {
///     /// What it is about.
///     pub enum SupervisorToSigner: "supervisor" => "signer" {
///         /// What it means.
///         SETUP = 1 in Setup then Serving: Setup(file: OwnedFd [fd]),
///         /// …
///         GATEWAY = 2 in Starting | Serving: Gateway {
///             /// …
///             id: ConnectionId,
///             /// …
///             channel: OwnedFd [fd],
///         } lost id,
///     }
/// }
/// ```
///
/// `[fd]` marks the field that travels as a descriptor, `then` names the phase that begins with the message, and
/// `lost` the field with the connection that a lost descriptor concerns.
macro_rules! messages {
    (
        $(#[doc = $about:literal])+
        $(#[derive($($derive:ident),+)])?
        pub enum $direction:ident: $from:literal => $to:literal {$(
            $(#[doc = $doc:literal])+
            $constant:ident = $tag:literal in $phase:ident $(| $more:ident)* $(then $then:ident)?:
            $name:ident
            $(($($element:ident: $kind:ty $([$fd:ident])?),+))?
            $({$($(#[doc = $field_doc:literal])+ $field:ident: $field_kind:ty $([$field_fd:ident])?),+ $(,)?})?
            $(lost $id:expr)?
        ),+ $(,)?}
    ) => {
        $(#[doc = $about])+
        #[derive(Debug $($(, $derive)+)?)]
        pub enum $direction {$(
            $(#[doc = $doc])+
            $name $(($($kind),+))? $({$($(#[doc = $field_doc])+ $field: $field_kind),+})?
        ),+}

        impl $direction {$(
            #[doc = concat!("Tag of [`Self::", stringify!($name), "`].")]
            pub const $constant: u8 = $tag;
        )+}

        impl $crate::ipc::table::Message for $direction {
            const NAME: &'static str = stringify!($direction);
            const ENDS: (&'static str, &'static str) = ($from, $to);
            const TABLE: &'static [$crate::ipc::table::Row] = &[$($crate::ipc::table::Row {
                tag: $tag,
                name: stringify!($name),
                constant: stringify!($constant),
                about: &[$($doc),+],
                phases: &[$crate::ipc::wire::Phase::$phase $(, $crate::ipc::wire::Phase::$more)*],
                then: messages!(@then $($then)?),
                fields: &[
                    $($(messages!(@field $element: $kind $([$fd])?)),+)?
                    $($(messages!(@field $field: $field_kind $([$field_fd])?)),+)?
                ],
            }),+];

            fn encode(&self) -> Result<$crate::ipc::wire::Encoded<'_>, $crate::ipc::wire::WireError> {
                match self {$(
                    Self::$name $(($($element),+))? $({$($field),+})? => {
                        let writer = $crate::ipc::wire::Writer::new(Self::$constant);
                        $($(let writer = messages!(@put writer $element $([$fd])?);)+)?
                        $($(let writer = messages!(@put writer $field $([$field_fd])?);)+)?
                        writer.finish()
                    }
                )+}
            }

            fn decode(
                tag: u8,
                mut reader: $crate::ipc::wire::Reader<'_>,
            ) -> Result<Self, $crate::ipc::wire::WireError> {
                let message = match tag {
                    $(Self::$constant => Self::$name
                        $(($(messages!(@take reader $element $([$fd])?)),+))?
                        $({$($field: messages!(@take reader $field $([$field_fd])?)),+})?,)+
                    _ => return Err($crate::ipc::wire::WireError::Tag(tag)),
                };
                reader.finish()?;
                Ok(message)
            }

            #[allow(unused_mut, unused_variables, reason = "not all fields lead to the connection")]
            fn lost(
                tag: u8,
                mut reader: $crate::ipc::wire::Reader<'_>,
            ) -> Result<$crate::ipc::ConnectionId, $crate::ipc::wire::WireError> {
                match tag {
                    $(Self::$constant => messages!(@lost reader
                        [$($($element: $kind $([$fd])?),+)? $($($field: $field_kind $([$field_fd])?),+)?]
                        $($id)?
                    ),)+
                    _ => Err($crate::ipc::wire::WireError::Tag(tag)),
                }
            }
        }
    };
    (@then) => { None };
    (@then $phase:ident) => { Some($crate::ipc::wire::Phase::$phase) };
    (@field $name:ident: $kind:ty) => { messages!(@field $name $kind, false) };
    (@field $name:ident: $kind:ty [fd]) => { messages!(@field $name $kind, true) };
    (@field $name:ident $kind:ty, $is_descriptor:literal) => {
        $crate::ipc::table::Field {
            name: stringify!($name),
            kind: stringify!($kind),
            is_descriptor: $is_descriptor,
        }
    };
    (@put $writer:ident $field:ident) => { $writer.field($field)? };
    (@put $writer:ident $field:ident [fd]) => { $writer.descriptor(std::os::fd::AsFd::as_fd($field)) };
    (@take $reader:ident $field:ident) => { $reader.field()? };
    (@take $reader:ident $field:ident [fd]) => { $reader.descriptor()? };
    (@lost $reader:ident [$($all:tt)*]) => { Err($crate::ipc::wire::WireError::Descriptor) };
    (@lost $reader:ident [$($field:ident: $kind:ty $([$fd:ident])?),+] $id:expr) => {{
        $(messages!(@bind $reader $field: $kind $([$fd])?);)+
        $reader.finish()?;
        Ok($id)
    }};
    (@bind $reader:ident $field:ident: $kind:ty) => { let $field: $kind = $reader.field()?; };
    (@bind $reader:ident $field:ident: $kind:ty [fd]) => {};
}

pub(crate) use messages;
