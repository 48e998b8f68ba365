//! What the original has and this version doesn't have yet. It is recognised, so that it is refused in
//! plain words instead of being ignored or taken for something else.
//!
//! Who builds one of these moves its line to `cli/options.rs` and `keys.rs`.

/// An option of the original that this version doesn't have yet.
pub(super) struct Later {
    /// The long option, without dashes.
    pub(super) option: &'static str,
    /// Whether a value follows.
    pub(super) takes_value: bool,
    /// The key that it will have in TOML, a table or a single key.
    pub(super) key: Option<&'static str>,
}

/// All of them but one spelling that `cli/expand.rs` refuses: `--` begins the wrapped program of `[wrap]`.
pub(super) const LATER: &[Later] = &[value("wrap-mode", Some("wrap"))];

const fn value(option: &'static str, key: Option<&'static str>) -> Later {
    Later { option, takes_value: true, key }
}

/// Whether `key` belongs to something that this version doesn't have yet.
pub(super) fn is_later_key(key: &str) -> bool {
    LATER.iter().any(|later| later.key == Some(key))
}
