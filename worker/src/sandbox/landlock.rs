//! Files and addresses that stay within reach (landlock(7)), as far as the kernel goes.

use std::os::fd::AsFd;
use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use super::profile::{Ports, Profile, Reach};
use super::resolver;

/// The newest version of the interface that this file makes use of.
///
/// From version 9 on, connecting to a unix socket by its path would need a rule too.
const NEWEST: ABI = ABI::V6;

/// What `getaddrinfo` reads: its configuration and the modules that nsswitch.conf(5) names, with what
/// these link to. Directories and not the single files, since a resolv.conf(5) that is replaced is another
/// file.
const RESOLVER_FILES: [&str; 12] = [
    "/etc",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/nix/store",
    "/run/NetworkManager",
    "/run/nscd",
    "/run/resolvconf",
    "/run/systemd/resolve",
    "/var/run/nscd",
];

/// The port of DNS, for answers that are too long for UDP (RFC 7766).
const DNS_PORT: u16 = 53;

/// Confines this process. Gives the version of the interface that is in force, 0 for none.
pub(super) fn restrict(profile: Profile<'_>) -> u8 {
    let Ok(status) = rules(profile).and_then(RulesetCreated::restrict_self) else { return 0 };
    match (status.ruleset, status.landlock) {
        (RulesetStatus::NotEnforced, _) => 0,
        (_, LandlockStatus::Available { effective_abi, .. }) => (effective_abi as u8).min(NEWEST as u8),
        _ => 0,
    }
}

fn rules(profile: Profile<'_>) -> Result<RulesetCreated, RulesetError> {
    // Handled and not allowed by a rule means refused. All are best effort, the crate's default.
    let rules = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(net(profile))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    match profile {
        Profile::Gateway { web_root: Some(directory), .. } => readable_directory(rules, directory),
        Profile::Connector(reach) => connector(rules, reach),
        Profile::Gateway { web_root: None, .. } | Profile::Signer | Profile::Echo | Profile::Exporter => {
            Ok(rules)
        }
    }
}

fn readable() -> BitFlags<AccessFs> {
    AccessFs::ReadFile | AccessFs::ReadDir
}

fn readable_directory(rules: RulesetCreated, directory: impl AsFd) -> Result<RulesetCreated, RulesetError> {
    rules.add_rule(PathBeneath::new(directory, readable()))
}

/// What of TCP needs a rule. Where any port may be connected to, connecting does not.
fn net(profile: Profile<'_>) -> BitFlags<AccessNet> {
    match profile {
        Profile::Connector(Reach { ports: Ports::Any, .. }) => AccessNet::BindTcp.into(),
        _ => AccessNet::from_all(NEWEST),
    }
}

fn connector(mut rules: RulesetCreated, reach: &Reach) -> Result<RulesetCreated, RulesetError> {
    if reach.resolves {
        let places = RESOLVER_FILES.iter().map(PathBuf::from).chain(resolver::places());
        for path in places {
            // No system has all of them.
            let Ok(place) = PathFd::new(&path) else { continue };
            let readable = if path.is_dir() { readable() } else { AccessFs::ReadFile.into() };
            rules = rules.add_rule(PathBeneath::new(place, readable))?;
        }
    }
    let Ports::Only(ports) = &reach.ports else { return Ok(rules) };
    let dns = reach.resolves.then_some(DNS_PORT).into_iter();
    for port in ports.iter().copied().chain(dns) {
        rules = rules.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?;
    }
    Ok(rules)
}
