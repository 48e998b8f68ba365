//! Restricts files and addresses with Landlock (landlock(7)), as far as the kernel supports it.

use std::os::fd::AsFd;
use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use super::profile::{Ports, Profile, Reach};
use super::resolver;

/// The newest ABI version that this file uses.
///
/// From version 9 on, connecting to a unix socket by path would require a rule as well.
const NEWEST: ABI = ABI::V6;

/// What `getaddrinfo` reads: its configuration, and the modules that nsswitch.conf(5) names with their
/// libraries. The rules are for directories and not for files, since a replaced resolv.conf(5) is another
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

/// Port of DNS, for answers that are too long for UDP (RFC 7766).
const DNS_PORT: u16 = 53;

/// Confines this process. Returns the ABI version in force; 0 for none.
pub(super) fn restrict(profile: Profile<'_>) -> u8 {
    let Ok(status) = rules(profile).and_then(RulesetCreated::restrict_self) else { return 0 };
    match (status.ruleset, status.landlock) {
        (RulesetStatus::NotEnforced, _) => 0,
        (_, LandlockStatus::Available { effective_abi, .. }) => (effective_abi as u8).min(NEWEST as u8),
        _ => 0,
    }
}

fn rules(profile: Profile<'_>) -> Result<RulesetCreated, RulesetError> {
    // Access that is handled but not allowed by a rule is denied. All of it is best effort, the default of
    // the crate.
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

/// TCP operations that require a rule. If any port may be connected to, connecting is not handled.
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
