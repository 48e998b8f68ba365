//! Key exchange groups offered to clients.

use rustls::crypto::aws_lc_rs::kx_group::X25519;
use rustls::crypto::{ActiveKeyExchange, SupportedKxGroup};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::{Error, NamedGroup, ProtocolVersion};

/// X25519, limited to TLS 1.3: the signer does not sign a TLS 1.2 key exchange with it.
#[derive(Debug)]
struct X25519From13;

/// Limits TLS 1.2 to P-256 and P-384, the groups that the signer accepts. All TLS 1.2 clients support them.
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
