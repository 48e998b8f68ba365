//! Kinds of journal entries (`MESSAGE_ID`, systemd.journal-fields(7)).
//!
//! `systemd/websockify.catalog` explains each of them (`journalctl --catalog`). An id is never reused for
//! another kind.

/// A session has begun.
pub(crate) const SESSION_OPENED: &str = "fbd0ff3b190446aa8698b7bb3c6699ca";
/// A session has ended.
pub(crate) const SESSION_CLOSED: &str = "fc77f236b2134c5ebe566b99a21d4728";
/// A client got no session, as its target could not be reached.
pub(crate) const TARGET_UNREACHABLE: &str = "e5f8b2d273804b468e10dc5fc32cb73a";
/// A role has died and is replaced.
pub(crate) const ROLE_DIED: &str = "76ef9151c7184d1882f7a72425785dcd";
/// A role was killed because it does not answer or has broken protocol.
pub(crate) const ROLE_KILLED: &str = "53cc3299afce4ad4bf8b091e1ce5a36c";
/// A part of the sandbox is not available.
pub(crate) const SANDBOX_DEGRADED: &str = "a987b94452394b0b82fb3341fb69797f";
/// A reload or an upgrade has failed.
pub(crate) const RELOAD_FAILED: &str = "9c961f68ea9748ecaf717e17c923c9f8";
/// systemd listens on other addresses than those of the configuration.
pub(crate) const LISTEN_MISMATCH: &str = "6f0b1b47664b4de0a86674b80dce2bf5";
/// A certificate or its key can't be used.
pub(crate) const CERTIFICATE_UNUSABLE: &str = "00edac1bbb2041ef9903451c00e143d3";
/// The service can't start or continue.
pub(crate) const SERVICE_FAILED: &str = "207168cbade34306a9b37f0dccb10abc";

/// A client has failed authentication.
pub(crate) const AUTH_DENIED: &str = "fd274abf93454e5aa8111f02facb2d0d";
/// A client has no token, or an invalid one.
pub(crate) const TOKEN_DENIED: &str = "7536339054a24dc786518c05862847ca";
/// A TLS handshake with a client has failed.
pub(crate) const TLS_FAILED: &str = "d68f657d51cc4de88bd38723fb864fe5";
/// Clients have to wait, because a limit is reached or descriptors have run out.
pub(crate) const LIMIT_HIT: &str = "7ce177d5ee444eeea9cfecdb4ad637cc";
/// New connections of a source are turned away because of its penalties.
pub(crate) const SOURCE_BANNED: &str = "cb759d8678134210b4a7a46337ba83c9";
/// New connections are turned away, because their source has too many.
pub(crate) const SOURCE_LIMITED: &str = "67ba8b06c20a4457a58979a2d5215d42";
/// The service accepts clients.
pub(crate) const STARTED: &str = "ed9ddb0bb00141b19240b434a6a05dbf";
/// A changed configuration, or another version, is in force.
pub(crate) const RELOADED: &str = "ae73266f3ec34262ba5748631b1f4c92";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    fn ids() -> BTreeSet<&'static str> {
        let lines = include_str!("message_id.rs").lines();
        lines.filter_map(|line| line.strip_prefix("pub(crate) const ")?.split('"').nth(1)).collect()
    }

    #[test]
    fn the_reference_lists_each_event_once() {
        let page = include_str!("../../../../docs/reference/journal.md");
        let listed: Vec<_> =
            page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        let listed: Vec<_> = listed.into_iter().filter(|id| id.len() == 32).collect();
        assert_eq!(listed.len(), ids().len());
        assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), ids());
    }

    #[test]
    fn the_catalog_explains_each_event_once() {
        let ids = ids();
        let catalog = include_str!("../../../../systemd/websockify.catalog");
        let explained: Vec<_> = catalog.lines().filter_map(|line| line.strip_prefix("-- ")).collect();
        assert_eq!(explained.len(), ids.len());
        assert_eq!(explained.into_iter().collect::<BTreeSet<_>>(), ids);
    }
}
