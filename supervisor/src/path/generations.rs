//! The list of generations.

use std::cell::RefCell;
use std::rc::Rc;

use super::generation::Generation;
use crate::roles::wrapper::Program;

/// All generations that have roles, oldest first. New connections go to the last one.
#[derive(Debug, Default)]
pub(crate) struct Generations(RefCell<Vec<Rc<Generation>>>);

impl Generations {
    /// All generations, oldest first.
    pub(crate) fn all(&self) -> Vec<Rc<Generation>> {
        let mut living = self.0.borrow_mut();
        living.retain(|one| !one.is_over());
        living.clone()
    }

    /// The generation in force; `None` before the first is ready.
    pub(crate) fn current(&self) -> Option<Rc<Generation>> {
        self.0.borrow().last().cloned()
    }

    /// Puts `generation` into force.
    pub(crate) fn add(&self, generation: Rc<Generation>) {
        self.0.borrow_mut().push(generation);
    }

    /// The wrapped program of the current configuration.
    pub(crate) fn program(&self) -> Option<Rc<Program>> {
        self.current().and_then(|generation| generation.program.clone())
    }
}
