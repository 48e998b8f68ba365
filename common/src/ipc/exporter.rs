//! Between the supervisor and the exporter, which shows metrics to whoever asks over HTTP.

use std::os::fd::{AsFd, OwnedFd};

use serde::{Deserialize, Serialize};

use super::level::Level;
use super::wire::{self, Encoded, Message, WireError};

/// What an exporter is told.
#[derive(Debug)]
pub enum SupervisorToExporter {
    /// First of all: a [`super::setup::ExporterSetup`] as a file in memory. Answer with `Ready`.
    Setup(OwnedFd),
    /// The listening socket.
    Listener(OwnedFd),
    /// The answer to one `Wanted`, in their order.
    Page {
        /// All is well with what was asked for.
        is_well: bool,
        /// The text as a file in memory.
        text: OwnedFd,
    },
    /// Is somebody there? Answer with `Here` at once.
    Ask,
}

/// What can be asked for over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Page {
    /// Everything that is counted, in the OpenMetrics text format.
    Metrics,
    /// Whether clients can be served; the reason if not.
    Health,
}

/// What an exporter says.
#[derive(Debug, PartialEq, Eq)]
pub enum ExporterToSupervisor {
    /// Set up and so far confined, and the listener may come.
    Ready(Level),
    /// Somebody asks for a page; at most [`Page::MAX_WANTED`] at a time.
    Wanted(Page),
    /// The answer to `Ask`.
    Here,
}

impl Page {
    /// So many may be asked for before the first is answered: one for each connection.
    pub const MAX_WANTED: usize = 16;
}

impl Message for SupervisorToExporter {
    fn encode(&self) -> Result<Encoded<'_>, WireError> {
        match self {
            Self::Setup(fd) => wire::body(1, &(), Some(fd.as_fd())),
            Self::Listener(fd) => wire::body(2, &(), Some(fd.as_fd())),
            Self::Page { is_well, text } => wire::body(3, is_well, Some(text.as_fd())),
            Self::Ask => wire::body(4, &(), None),
        }
    }

    fn decode(tag: u8, body: &[u8], fd: Option<OwnedFd>) -> Result<Self, WireError> {
        match tag {
            1 => wire::fields(tag, body).and_then(|()| Ok(Self::Setup(wire::with_fd(fd)?))),
            2 => wire::fields(tag, body).and_then(|()| Ok(Self::Listener(wire::with_fd(fd)?))),
            3 => Ok(Self::Page { is_well: wire::fields(tag, body)?, text: wire::with_fd(fd)? }),
            4 => wire::without_fd(fd).and_then(|()| wire::fields(tag, body)).map(|()| Self::Ask),
            _ => Err(WireError::Tag(tag)),
        }
    }
}

impl Message for ExporterToSupervisor {
    fn encode(&self) -> Result<Encoded<'_>, WireError> {
        match self {
            Self::Ready(level) => wire::body(1, level, None),
            Self::Wanted(page) => wire::body(2, page, None),
            Self::Here => wire::body(3, &(), None),
        }
    }

    fn decode(tag: u8, body: &[u8], fd: Option<OwnedFd>) -> Result<Self, WireError> {
        wire::without_fd(fd)?;
        match tag {
            1 => Ok(Self::Ready(wire::fields(tag, body)?)),
            2 => Ok(Self::Wanted(wire::fields(tag, body)?)),
            3 => wire::fields(tag, body).map(|()| Self::Here),
            _ => Err(WireError::Tag(tag)),
        }
    }
}
