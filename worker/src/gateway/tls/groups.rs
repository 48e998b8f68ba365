//! The groups of key exchange towards clients.

use rustls::crypto::aws_lc_rs::kx_group::X25519;
use rustls::crypto::{ActiveKeyExchange, SupportedKxGroup};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::{Error, NamedGroup, ProtocolVersion};

/// X25519 for TLS 1.3 alone: the signer signs no key exchange of TLS 1.2 with it.
#[derive(Debug)]
struct X25519From13;

/// Leaves of TLS 1.2 the groups that the signer signs, P-256 and P-384, which each client of TLS 1.2 has.
pub(super) fn restrict(groups: &mut [&'static dyn SupportedKxGroup]) {
    for group in groups.iter_mut().filter(|group| group.name() == NamedGroup::X25519) {
        *group = &X25519From13;
    }
}

impl SupportedKxGroup for X25519From13 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        X25519.start()
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        X25519.name()
    }

    fn fips(&self) -> bool {
        X25519.fips()
    }

    fn usable_for_version(&self, version: ProtocolVersion) -> bool {
        version == ProtocolVersion::TLSv1_3
    }
}
