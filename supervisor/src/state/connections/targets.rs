//! Sessions of each target, where they are limited (`per-target.sessions`).
//!
//! A connection claims its target before the connector dials it, and keeps it to its end.

use std::collections::HashMap;
use std::num::NonZeroU32;

/// How many connections claim each target.
#[derive(Debug, Default)]
pub(super) struct Targets {
    /// Maximum for one target; nothing is counted without it.
    pub(super) most: Option<NonZeroU32>,
    claims: HashMap<Box<str>, u32>,
}

impl Targets {
    /// Counts claims up to this maximum for each target; none are there yet.
    pub(super) fn up_to(most: Option<NonZeroU32>) -> Self {
        Self { most, claims: HashMap::new() }
    }

    /// Counts a claim; returns whether there was room for it.
    pub(super) fn claim(&mut self, target: &str) -> bool {
        let Some(most) = self.most else { return true };
        let is_free = self.claims.get(target).is_none_or(|claims| *claims < most.get());
        if is_free {
            self.add(target);
        }
        is_free
    }

    /// Counts a claim, whether or not there is room for it.
    pub(super) fn add(&mut self, target: &str) {
        *self.claims.entry(target.into()).or_default() += 1;
    }

    /// Gives a claim back.
    pub(super) fn release(&mut self, target: &str) {
        if let Some(claims) = self.claims.get_mut(target) {
            *claims -= 1;
            if *claims == 0 {
                self.claims.remove(target);
            }
        }
    }
}
