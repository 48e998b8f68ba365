//! `websockifyctl drain --wait`: the end of an instance.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use common::control::{Answer, Request};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::instances::{CtlError, Instance};

/// The supervisor of a running instance.
#[derive(Debug)]
pub(crate) struct Supervisor {
    name: String,
    process: OwnedFd,
}

impl Supervisor {
    /// Finds the supervisor of an instance, before the instance is told to end: its process id may belong to another
    /// process later.
    pub(crate) fn of(run: &Path, name: &str) -> Result<Self, CtlError> {
        let status = match Instance::named(run, name)?.ask(&Request::Status)? {
            Answer::Status(status) => status,
            other => return Err(CtlError::unexpected(other)),
        };
        let opened = match i32::try_from(status.pid).ok().and_then(Pid::from_raw) {
            Some(pid) => pidfd_open(pid, PidfdFlags::empty()).map_err(io::Error::from),
            None => Err(io::ErrorKind::InvalidData.into()),
        };
        match opened {
            Ok(process) => Ok(Self { name: name.into(), process }),
            Err(source) => Err(CtlError::Wait { name: name.into(), source }),
        }
    }

    /// Waits until it has ended.
    pub(crate) fn wait(self) -> Result<(), CtlError> {
        loop {
            match poll(&mut [PollFd::new(&self.process, PollFlags::IN)], None) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(CtlError::Wait { name: self.name, source: error.into() }),
            }
        }
    }
}
