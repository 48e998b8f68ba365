//! The declaration of messages: one table for each direction of each channel.
//!
//! A row of a table declares everything about a message: its tag, the phases in which it is legal, its
//! fields, and which of them is a descriptor. From the table follow the enum, its encoder and decoder, the
//! check of the phase, the handling of a lost descriptor, the fuzz target, `docs/development/messages.md`, and the
//! constants of the end-to-end tests (`tests/harness/messages.py`).
//!
//! # What may change after a release
//!
//! The roles of a generation have the same version. So messages between gateways, connector and signer, and
//! all messages to a role before it is ready, may change freely. Only an in-place upgrade brings two versions
//! together: a supervisor then continues with roles that an earlier version has started. Therefore two kinds
//! of messages are permanent:
//!
//! - Messages of such a role to the supervisor must be understood by all later versions. A row whose tag was
//!   released keeps its tag, its fields and its meaning. A message that needs other fields becomes a new row
//!   with the next free tag. The old row stays until upgrades from versions that send it are no longer
//!   supported, and its tag is never reused. An enum in a field may get further variants at its end. Nothing
//!   else in a field may change, since fields are encoded without names.
//! - Messages of the supervisor to such a role must be known to the role. A role of an earlier version is
//!   sent only messages that existed in version 0.1.0, unless it has declared that it supports more.
//!
//! Under these rules a new row is compatible in both directions. A new message from a role to the supervisor
//! also increments the version of the upgrade's state, so that no earlier version takes over roles whose
//! messages it does not know. A change that violates these rules increments
//! [`VERSION`](super::wire::VERSION). The rehearsal of an upgrade between such versions then fails, and the
//! service must be restarted.

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
    /// Name of the constant of its tag.
    pub constant: &'static str,
    /// Its documentation, line by line.
    pub about: &'static [&'static str],
    /// The phases in which it is legal.
    pub phases: &'static [Phase],
    /// The phase that begins with it, if there is one.
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
    /// Whether it is a descriptor, which is sent beside the datagram.
    pub is_descriptor: bool,
}

/// A message in one direction of a channel. Implemented by [`messages!`] only.
pub trait Message: Sized + fmt::Debug {
    /// Name of the enum.
    const NAME: &'static str;
    /// Sender and receiver.
    const ENDS: (&'static str, &'static str);
    /// The table of messages. The conversation begins in the phase of the first row.
    const TABLE: &'static [Row];
    /// The initial phase of the conversation.
    const BEGINS: Phase = Self::TABLE[0].phases[0];

    /// Encodes the message as a datagram and a descriptor.
    ///
    /// # Errors
    ///
    /// Fails if the datagram would be longer than [`MAX_BYTES`](super::wire::MAX_BYTES).
    fn encode(&self) -> Result<Encoded<'_>, WireError>;

    /// Decodes the message with this tag.
    ///
    /// # Errors
    ///
    /// Fails if no message has this tag, or if fields and descriptor are not exactly those of the table.
    fn decode(tag: u8, reader: Reader<'_>) -> Result<Self, WireError>;

    /// Decodes the id of the connection from a message whose descriptor was lost.
    ///
    /// # Errors
    ///
    /// Fails if the table names no such field, or if the fields are not those of the table.
    fn lost(tag: u8, reader: Reader<'_>) -> Result<ConnectionId, WireError>;
}

/// The phase of the conversation in one direction of a channel, which determines the legal messages.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conversation(Option<Phase>);

impl Conversation {
    /// A conversation that another program has begun and that is in `phase`.
    #[must_use]
    pub fn resumed(phase: Phase) -> Self {
        Self(Some(phase))
    }

    /// Decodes a datagram, and enters the phase that it begins.
    ///
    /// # Errors
    ///
    /// Fails if the datagram is not a message of type `M` that is legal in this phase. The channel must be
    /// given up.
    pub fn decode<M: Message>(&mut self, datagram: &[u8], fd: Option<OwnedFd>) -> Result<M, WireError> {
        let (tag, reader) = wire::open(datagram, fd)?;
        self.proceed::<M>(tag)?;
        M::decode(tag, reader)
    }

    /// Decodes the tag and the connection of a message whose descriptor was lost.
    ///
    /// # Errors
    ///
    /// The same as those of [`Self::decode`]. Also fails if the table names no connection for the message.
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
/// Fails if the datagram is not a message of type `M`.
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
