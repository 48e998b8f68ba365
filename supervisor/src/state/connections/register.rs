//! A register of open sessions in a file that outlives the supervisor: if it is killed, the next one writes their
//! closing records, so that each session has exactly one however it ended.
//!
//! The file has a slot for each open session. It is in a runtime directory that systemd preserves while it
//! restarts the service (`RuntimeDirectoryPreserve=`). One process at a time holds it (flock(2)).

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use common::ipc::{ClientAddr, ConnectionId};
use common::json;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::os::clock::now;
use crate::state::session::{Opening, Run};
use crate::state::session_records::{self, Subject};

/// Maximum size of an entry in bytes. Sessions with longer entries are not registered; a host name has at
/// most 253 bytes.
const SLOT_BYTES: usize = 512;

/// Maximum size of a file that is read, in bytes: some hundred thousand sessions.
const MAX_BYTES: u64 = 64 << 20;

/// The open register file.
#[derive(Debug)]
pub(super) struct Register {
    file: File,
    /// Number of slots in the file.
    slots: u32,
    /// Free slots.
    free: Vec<u32>,
}

/// Data for the closing record of a session.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) run: Run,
    pub(super) id: ConnectionId,
    /// The other end of its connection.
    pub(super) client: ClientAddr,
    pub(super) gateway: i32,
    #[serde(flatten)]
    pub(super) opening: Opening,
    /// Beginning of the session, on a clock that all processes since the last boot share.
    pub(super) since: Duration,
}

impl Register {
    /// Opens or creates the file. `is_held` tells which slots belong to sessions that are still open. The
    /// sessions of all other slots are recorded as closed.
    ///
    /// # Errors
    ///
    /// Fails if the file can't be opened, or if another process holds it.
    pub(super) fn open(path: &Path, is_held: impl Fn(u32) -> bool) -> io::Result<Self> {
        let flags = nix::fcntl::OFlag::O_NOFOLLOW.bits();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(flags)
            .open(path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let mut bytes = Vec::new();
        (&file).take(MAX_BYTES).read_to_end(&mut bytes)?;
        let mut register = Self { file, slots: 0, free: Vec::new() };
        for slot in bytes.chunks(SLOT_BYTES) {
            let number = register.slots;
            register.slots += 1;
            if is_held(number) {
                continue;
            }
            if let Some(entry) = Entry::read(slot) {
                entry.tell_closed();
            }
            register.clear(number);
        }
        Ok(register)
    }

    /// Registers a session. Returns its slot, if there was room for it.
    pub(super) fn add(&mut self, entry: &Entry) -> Option<u32> {
        let text = entry.write().or_else(|| entry.without_details().write())?;
        let slot = self.free.pop().unwrap_or(self.slots);
        self.file.write_all_at(&text, offset(slot)).ok()?;
        self.slots = self.slots.max(slot + 1);
        Some(slot)
    }

    /// Removes a session.
    pub(super) fn clear(&mut self, slot: u32) {
        // If this fails, the session is recorded as closed once more.
        if self.file.write_all_at(b"\0", offset(slot)).is_ok() {
            self.free.push(slot);
        }
    }
}

impl Entry {
    fn write(&self) -> Option<[u8; SLOT_BYTES]> {
        let text = serde_json::to_vec(self).ok()?;
        let mut slot = [b' '; SLOT_BYTES];
        slot.get_mut(..text.len())?.copy_from_slice(&text);
        Some(slot)
    }

    /// The entry without user and token hash, which may be long.
    fn without_details(&self) -> Self {
        Self {
            run: self.run,
            id: self.id,
            client: self.client.clone(),
            gateway: self.gateway,
            opening: Opening { vouched: self.opening.vouched, ..Opening::from(self.opening.target.as_str()) },
            since: self.since,
        }
    }

    /// Parses a slot. Returns `None` if it is free or incomplete.
    fn read(slot: &[u8]) -> Option<Self> {
        json::object(slot).ok()
    }

    fn tell_closed(&self) {
        let subject = Subject {
            run: self.run,
            id: self.id,
            peer: &self.client,
            gateway: self.gateway,
            opening: &self.opening,
            request: None,
        };
        session_records::closed(&subject, None, now().saturating_sub(self.since));
    }
}

fn offset(slot: u32) -> u64 {
    u64::from(slot) * SLOT_BYTES as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: u64) -> Entry {
        Entry {
            run: Run::default(),
            id: ConnectionId(id),
            client: ClientAddr::Unix("/run/x".into()),
            gateway: 7,
            opening: Opening::from("localhost:5901"),
            since: now(),
        }
    }

    fn of_user(id: u64, user: &str) -> Entry {
        let opening = Opening {
            user: Some(user.into()),
            auth_method: Some("basic".into()),
            token: Some("0123456789abcdef".into()),
            connect: Some(Duration::from_millis(3)),
            ..entry(id).opening
        };
        Entry { opening, ..entry(id) }
    }

    /// The numbers of the sessions in the file.
    fn written(path: &Path) -> Vec<u64> {
        let bytes = std::fs::read(path).unwrap();
        bytes.chunks(SLOT_BYTES).filter_map(Entry::read).map(|entry| entry.id.0).collect()
    }

    #[test]
    fn a_supervisor_after_a_crash_finds_the_open_sessions() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sessions");
        let mut register = Register::open(&path, |_| false).unwrap();
        let slots: Vec<_> = (1..4).map(|id| register.add(&entry(id)).unwrap()).collect();
        register.clear(slots[1]);
        assert_eq!(written(&path), [1, 3]);
        assert_eq!(register.add(&entry(4)), Some(slots[1]), "slots are used again");
        assert_eq!(written(&path), [1, 4, 3]);
        assert!(Register::open(&path, |_| false).is_err(), "one process has it at a time");
        drop(register);
        let mut next = Register::open(&path, |slot| slot == slots[2]).unwrap();
        assert_eq!(written(&path), [3], "others are told and forgotten");
        assert!(next.add(&entry(5)).is_some_and(|slot| slot != slots[2]));
    }

    #[test]
    fn entries_that_do_not_fit_or_are_damaged_are_skipped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sessions");
        std::fs::write(&path, [b"{\"run\":1".to_vec(), vec![0xff; 2000]].concat()).unwrap();
        let mut register = Register::open(&path, |_| false).unwrap();
        assert_eq!(
            register.add(&Entry { opening: Opening::from(&*"x".repeat(SLOT_BYTES)), ..entry(1) }),
            None
        );
        assert!(register.add(&entry(2)).is_some());
        assert_eq!(written(&path), [2]);
    }

    #[test]
    fn users_and_tokens_are_kept_where_there_is_room() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sessions");
        let mut register = Register::open(&path, |_| false).unwrap();
        for user in ["alice", &"x".repeat(SLOT_BYTES)] {
            register.add(&of_user(1, user)).unwrap();
        }
        let bytes = std::fs::read(&path).unwrap();
        let openings = bytes.chunks(SLOT_BYTES).filter_map(Entry::read).map(|entry| entry.opening);
        let openings: Vec<_> = openings.map(|one| (one.target, one.user, one.token.is_some())).collect();
        let target = || "localhost:5901".to_owned();
        assert_eq!(openings, [(target(), Some("alice".into()), true), (target(), None, false)]);
    }

    #[test]
    fn an_entry_with_only_a_target_is_valid() {
        let text = br#"{"run":1,"id":2,"client":{"Unix":"/run/x"},"gateway":7,"target":"a:1",
            "since":{"secs":1,"nanos":2}}"#;
        let entry = Entry::read(text).unwrap();
        assert_eq!((entry.id, entry.opening.target.as_str()), (ConnectionId(2), "a:1"));
    }
}
