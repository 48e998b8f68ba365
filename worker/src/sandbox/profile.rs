//! What a role needs, and so may keep.

use std::net::IpAddr;

use common::addr::TargetAddr;
use common::ipc::lookup::PluginLink;
use common::ipc::setup::{AuthTerms, ConnectorSetup, Destination, TokenLookup};

use super::name_services;
use crate::beneath::Beneath;

/// What a role needs, and so may keep.
#[derive(Clone, Copy, Debug)]
pub enum Profile<'a> {
    /// Connections, and files beneath the web directory if there is one.
    Gateway {
        /// The directory whose files it serves.
        web_root: Option<&'a Beneath>,
        /// Sessions are recorded, in files that the supervisor opens.
        records: bool,
    },
    /// Connections to targets.
    Connector(&'a Reach),
    /// Channels, and nothing else.
    Signer,
    /// Connections from its listening socket.
    Echo,
    /// Connections from its listening socket, and channels.
    Exporter,
}

/// What a connector must reach: targets, and who is asked about clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// The TCP ports that it may connect to.
    pub ports: Ports,
    /// Some of them have names that must be resolved.
    pub resolves: bool,
    /// Some of them are unix sockets, which it finds by their path.
    pub connects_by_path: bool,
    /// It finds unix sockets in a directory. It can't read what it finds.
    pub finds_sockets: bool,
}

/// TCP ports to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ports {
    /// Only these ports.
    Only(Vec<u16>),
    /// Any: what tokens lead to is not known before.
    Any,
}

impl Reach {
    /// What a connector with this setup must reach, and nothing else.
    #[must_use]
    pub fn of(setup: &ConnectorSetup) -> Self {
        let mut reach = Self::targets(&setup.destination);
        for terms in &setup.auth {
            match terms {
                AuthTerms::External {
                    link: PluginLink::Lines(service) | PluginLink::Http { service, .. },
                    ..
                } => {
                    reach.add(&service.address);
                }
                // The connection to a program is passed.
                AuthTerms::External { link: PluginLink::Program, .. }
                | AuthTerms::Basic(_)
                | AuthTerms::Origin { .. }
                | AuthTerms::CommonName(_) => {}
            }
        }
        reach
    }

    /// Whether it makes unix sockets. Their paths may lead to anything of its user, such as a session's D-Bus: there is
    /// no rule for connecting to a path.
    pub(super) fn needs_unix_sockets(&self) -> bool {
        self.connects_by_path || self.finds_sockets || (self.resolves && name_services::need_unix_sockets())
    }

    fn targets(destination: &Destination) -> Self {
        let mut reach = Self {
            ports: Ports::Only(Vec::new()),
            resolves: false,
            connects_by_path: false,
            finds_sockets: false,
        };
        match destination {
            Destination::Target(target) => reach.add(target),
            Destination::Program { port, .. } => reach.ports = Ports::Only(vec![*port]),
            Destination::Tokens(TokenLookup::SocketDirectory(_)) => reach.finds_sockets = true,
            // Any of these may name any target.
            Destination::Tokens(
                TokenLookup::Lines
                | TokenLookup::FileNames
                | TokenLookup::Jwt
                | TokenLookup::Redis(_)
                | TokenLookup::Api(_)
                | TokenLookup::External(_),
            ) => (reach.ports, reach.resolves, reach.connects_by_path) = (Ports::Any, true, true),
        }
        reach
    }

    fn add(&mut self, address: &TargetAddr) {
        match address {
            TargetAddr::Unix(_) => self.connects_by_path = true,
            TargetAddr::Tcp { host, port } => {
                self.resolves |= host.parse::<IpAddr>().is_err();
                if let Ports::Only(ports) = &mut self.ports {
                    ports.push(*port);
                }
            }
        }
    }
}

impl Profile<'_> {
    /// Opens files by their path, or connects to sockets by theirs.
    pub(super) fn needs_paths(self) -> bool {
        match self {
            // Named one by one: what is added one day must be thought of here.
            Self::Connector(Reach { ports: _, resolves, connects_by_path, finds_sockets }) => {
                *resolves || *connects_by_path || *finds_sockets
            }
            Self::Gateway { .. } | Self::Signer | Self::Echo | Self::Exporter => false,
        }
    }

    /// Makes no sockets. One to accept from keeps the network that it was made in.
    pub(super) fn needs_no_network(self) -> bool {
        matches!(self, Self::Gateway { .. } | Self::Signer | Self::Exporter)
    }
}

#[cfg(test)]
mod tests {
    use common::config::{Sandbox, Secret};
    use common::ipc::lookup::Service;
    use common::ticket::Key;

    use super::*;

    fn reach(target: &str, auth: Vec<AuthTerms>) -> Reach {
        Reach::of(&ConnectorSetup {
            run_as: None,
            sandbox: Sandbox::Strict,
            auth,
            limits: Default::default(),
            destination: Destination::Target(TargetAddr::parse_tcp(target).unwrap()),
            startup: None,
            target_tls: false,
            prefer_ipv6: false,
            timeouts: Default::default(),
            ticket_key: Key::generate().unwrap(),
            ticket_lifetime: std::time::Duration::ZERO,
            token_key: Key::generate().unwrap(),
        })
    }

    fn own(link: PluginLink) -> AuthTerms {
        AuthTerms::External { link, after_lookup: false }
    }

    #[test]
    fn a_connector_reaches_its_target_and_who_is_asked_about_clients_and_no_more() {
        let only = |ports: &[u16], resolves, connects_by_path| Reach {
            ports: Ports::Only(ports.to_vec()),
            resolves,
            connects_by_path,
            finds_sockets: false,
        };
        assert_eq!(reach("127.0.0.1:5900", vec![own(PluginLink::Program)]), only(&[5900], false, false));
        assert_eq!(reach("vnc:5900", Vec::new()), only(&[5900], true, false));
        let service = |address| Service { address, authorities: None };
        let socket = own(PluginLink::Lines(service(TargetAddr::Unix("/run/x".into()))));
        let http = own(PluginLink::Http {
            service: service(TargetAddr::parse_tcp("localhost:8080").unwrap()),
            authority: "localhost:8080".into(),
            path: Secret::new("/".into()),
        });
        assert_eq!(reach("127.0.0.1:5900", vec![socket, http]), only(&[5900, 8080], true, true));
    }
}
