//! What a role needs and may therefore keep.

use std::net::IpAddr;

use common::addr::TargetAddr;
use common::destinations::Destinations;
use common::ipc::lookup::{ApiLookup, PluginLink, RedisLookup};
use common::ipc::setup::{AuthTerms, ConnectorSetup, Destination, TokenLookup};

use super::name_services;
use crate::beneath::Beneath;

/// Maximum number of ports that are allowed one by one.
const MAX_PORTS: usize = 1024;

/// The resources that a role needs and may therefore keep.
#[derive(Clone, Copy, Debug)]
pub enum Profile<'a> {
    /// A gateway: connections, and the files beneath the web directory if there is one.
    Gateway {
        /// The web directory.
        web_root: Option<&'a Beneath>,
        /// Sessions are recorded in files that the supervisor opens.
        records: bool,
    },
    /// A connector: connections to targets.
    Connector(&'a Reach),
    /// A signer: channels only.
    Signer,
    /// The echo role: connections from its listener.
    Echo,
    /// An exporter: connections from its listener, and channels.
    Exporter,
}

/// The destinations of a connector: targets, and the services that it queries about clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// TCP ports that it may connect to.
    pub ports: Ports,
    /// Some hosts have names that must be resolved.
    pub resolves: bool,
    /// Some addresses are unix sockets that are found by path.
    pub connects_by_path: bool,
    /// Passwords are verified on threads.
    pub hashes: bool,
    /// The connector finds unix sockets in a directory, without the permission to read anything.
    pub finds_sockets: bool,
}

/// TCP ports to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ports {
    /// Only these ports.
    Only(Vec<u16>),
    /// Any port, as the targets of tokens are not known in advance.
    Any,
}

impl Reach {
    /// Derives the destinations from the connector's setup.
    #[must_use]
    pub fn of(setup: &ConnectorSetup) -> Self {
        let mut reach = Self::targets(&setup.destination, setup.reach.allow.as_ref());
        for terms in &setup.auth {
            match terms {
                AuthTerms::Users => reach.hashes = true,
                AuthTerms::External {
                    link: PluginLink::Lines(service) | PluginLink::Http { service, .. },
                    ..
                } => {
                    reach.add(&service.address);
                }
                // The connection to a program is passed as a descriptor.
                AuthTerms::External { link: PluginLink::Program, .. }
                | AuthTerms::Basic(_)
                | AuthTerms::Origin { .. }
                | AuthTerms::CommonName(_) => {}
            }
        }
        reach
    }

    /// Whether the role creates unix sockets. It can then connect to any socket of its user, such as a session's
    /// D-Bus: Landlock has no rule for connecting to a path.
    pub(super) fn needs_unix_sockets(&self) -> bool {
        self.connects_by_path || self.finds_sockets || (self.resolves && name_services::need_unix_sockets())
    }

    /// Whether the role starts threads.
    pub(super) fn needs_threads(&self) -> bool {
        self.resolves || self.hashes
    }

    fn targets(destination: &Destination, allow: Option<&Destinations>) -> Self {
        let mut reach = Self {
            ports: Ports::Only(Vec::new()),
            resolves: false,
            connects_by_path: false,
            hashes: false,
            finds_sockets: false,
        };
        let lookup = match destination {
            Destination::Target(target) => {
                reach.add(target);
                return reach;
            }
            Destination::Program { port, .. } => {
                reach.ports = Ports::Only(vec![*port]);
                return reach;
            }
            Destination::Tokens(lookup) => lookup,
        };
        if let TokenLookup::SocketDirectory(_) = lookup {
            reach.finds_sockets = true;
            return reach;
        }
        // Tokens may name any target, as far as they are allowed to lead there.
        reach.ports = allow.and_then(|allow| allow.ports(MAX_PORTS)).map_or(Ports::Any, Ports::Only);
        reach.connects_by_path = allow.is_none_or(Destinations::has_unix);
        reach.resolves = true;
        match lookup {
            TokenLookup::Redis(RedisLookup { service, .. })
            | TokenLookup::Api(ApiLookup { service, .. })
            | TokenLookup::External(PluginLink::Lines(service) | PluginLink::Http { service, .. }) => {
                reach.add(&service.address);
            }
            TokenLookup::Lines
            | TokenLookup::FileNames
            | TokenLookup::Tables
            | TokenLookup::SocketDirectory(_)
            | TokenLookup::Jwt
            | TokenLookup::SignedLink
            | TokenLookup::External(PluginLink::Program) => {}
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
    /// Whether the role opens files by path, or connects to sockets by path.
    pub(super) fn needs_paths(self) -> bool {
        match self {
            // All fields are listed, so that a new one must be considered here.
            Self::Connector(Reach { ports: _, resolves, connects_by_path, hashes: _, finds_sockets }) => {
                *resolves || *connects_by_path || *finds_sockets
            }
            Self::Gateway { .. } | Self::Signer | Self::Echo | Self::Exporter => false,
        }
    }

    /// Whether the role creates no sockets. An inherited listener keeps its network.
    pub(super) fn needs_no_network(self) -> bool {
        matches!(self, Self::Gateway { .. } | Self::Signer | Self::Exporter)
    }
}

#[cfg(test)]
mod tests {
    use common::config::{Sandbox, Secret};
    use common::ipc::lookup::Service;
    use common::ipc::token_reach::TokenReach;
    use common::ticket::Key;
    use serde::Deserialize;

    use super::*;

    fn reach(target: &str, auth: Vec<AuthTerms>) -> Reach {
        reach_of(Destination::Target(TargetAddr::parse_tcp(target).unwrap()), None, auth)
    }

    fn reach_of(destination: Destination, allow: Option<Destinations>, auth: Vec<AuthTerms>) -> Reach {
        Reach::of(&ConnectorSetup {
            run_as: None,
            sandbox: Sandbox::Strict,
            auth,
            auth_for_pages: false,
            site: Default::default(),
            trusted: Default::default(),
            limits: Default::default(),
            destination,
            reach: TokenReach { allow, ..TokenReach::default() },
            startup: None,
            per_target: Default::default(),
            limits_sources: false,
            record: false,
            target_tls: false,
            proxy_protocol: Default::default(),
            prefer_ipv6: false,
            timeouts: Default::default(),
            ticket_key: Key::generate().unwrap(),
            ticket_lifetime: std::time::Duration::ZERO,
            token_key: Key::generate().unwrap(),
            recheck: None,
            wait: None,
        })
    }

    fn own(link: PluginLink) -> AuthTerms {
        AuthTerms::External { link, after_lookup: false }
    }

    #[test]
    fn a_connector_reaches_its_target_and_services_and_no_more() {
        let only = |ports: &[u16], resolves, connects_by_path| Reach {
            ports: Ports::Only(ports.to_vec()),
            resolves,
            connects_by_path,
            hashes: false,
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

    #[test]
    fn tokens_reach_what_they_may_and_the_service_that_knows_them() {
        let tokens = |allow: Option<&[&str]>| {
            let service =
                Service { address: TargetAddr::parse_tcp("127.0.0.1:6379").unwrap(), authorities: None };
            let lookup = RedisLookup { service, db: 0, password: None, namespace: None };
            let allow = allow.map(|allow| Deserialize::deserialize(serde_json::json!(allow)).unwrap());
            let reach = reach_of(Destination::Tokens(TokenLookup::Redis(lookup)), allow, Vec::new());
            (reach.ports, reach.connects_by_path)
        };
        assert_eq!(tokens(None), (Ports::Any, true));
        assert_eq!(tokens(Some(&["10.0.0.0/8"])), (Ports::Any, false));
        assert_eq!(
            tokens(Some(&["10.0.0.0/8:5900-5901", "unix:/run/vm/"])),
            (Ports::Only(vec![5900, 5901, 6379]), true)
        );
        assert_eq!(tokens(Some(&["unix:/run/vm/"])), (Ports::Only(vec![6379]), true));
    }
}
