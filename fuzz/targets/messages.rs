//! Datagrams between the processes, in every direction: each is rejected, or is a message that survives
//! encoding and decoding.
#![no_main]

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::LazyLock;

use common::ipc::directions::DIRECTIONS;
use common::ipc::setup::{
    ConnectorSetup, EchoSetup, ExporterSetup, GatewaySetup, ServerIdentity, SignerSetup,
};
use common::ipc::wire;
use libfuzzer_sys::fuzz_target;

static SOME_FILE: LazyLock<File> = LazyLock::new(|| File::open("/dev/null").expect("/dev/null"));

fuzz_target!(|input: &[u8]| {
    let [settings, datagram @ ..] = input else { return };
    for direction in DIRECTIONS {
        let fd = || -> OwnedFd { SOME_FILE.try_clone().expect("a descriptor").into() };
        (direction.round_trip)(datagram, (settings & 1 != 0).then(fd)).expect(direction.name);
    }
    // Values that roles read from memory files.
    let _ = wire::value::<GatewaySetup>(datagram);
    let _ = wire::value::<ConnectorSetup>(datagram);
    let _ = wire::value::<SignerSetup>(datagram);
    let _ = wire::value::<EchoSetup>(datagram);
    let _ = wire::value::<ExporterSetup>(datagram);
    let _ = wire::value::<ServerIdentity>(datagram);
});
