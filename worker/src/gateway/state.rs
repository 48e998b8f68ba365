//! State shared by all connections of a gateway.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use common::ipc::level::Level;
use common::ipc::setup::GatewaySetup;
use common::ipc::stats::Stats;
use common::log::Outgoing;

use super::admission::Connector;
use super::connections::Connections;
use super::http::redaction::Redaction;
use super::kept::Kept;
use super::outbox::Outbox;
use super::page::Pages;
use super::pump::Terms;
use super::recording::Recordings;
use super::tls::Tls;
use super::tls::target::TargetTls;
use crate::beneath::Beneath;

/// A gateway. All of its connections run on one thread.
pub(super) struct Gateway {
    pub(super) setup: GatewaySetup,
    pub(super) session_terms: Rc<Terms>,
    pub(super) redaction: Redaction,
    pub(super) level: Level,
    pub(super) pages: Pages,
    pub(super) tls: Tls,
    pub(super) target_tls: Option<TargetTls>,
    pub(super) connector: RefCell<Option<Rc<Connector>>>,
    pub(super) connections: Connections,
    pub(super) recordings: Recordings,
    pub(super) outbox: Rc<Outbox>,
    pub(super) stats: RefCell<Stats>,
    pub(super) log: Arc<Outgoing>,
}

impl Gateway {
    /// Creates a gateway without connections.
    ///
    /// # Errors
    ///
    /// The reason why the setup can't be used, for the administrator.
    pub(super) fn new(
        setup: GatewaySetup,
        level: Level,
        web_root: Option<Beneath>,
        outbox: Rc<Outbox>,
        log: Arc<Outgoing>,
    ) -> Result<Rc<Self>, String> {
        Kept::set_limit(usize::try_from(setup.limits.unsent_bytes.get()).unwrap_or(usize::MAX));
        let target_tls = setup.target_tls.as_ref().map(TargetTls::new).transpose()?;
        Ok(Rc::new(Self {
            pages: Pages::new(&setup.page, web_root, setup.prefix.as_ref())?,
            tls: Tls::new(setup.tls.as_ref())?,
            target_tls,
            session_terms: Rc::new(Terms::of(&setup)),
            redaction: Redaction::of(&setup.inquiry),
            setup,
            level,
            connector: RefCell::default(),
            connections: Connections::default(),
            recordings: Recordings::default(),
            outbox,
            stats: RefCell::default(),
            log,
        }))
    }
}
