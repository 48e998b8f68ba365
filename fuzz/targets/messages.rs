//! Datagrams between the processes, in every direction: whatever comes is refused or is a message that can
//! be written down and read again.
#![no_main]

use std::fmt::Debug;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::LazyLock;

use common::ipc::admission::{ConnectorToGateway, GatewayToConnector, lost_target};
use common::ipc::connector::{ConnectorToSupervisor, SupervisorToConnector, SupervisorToEcho};
use common::ipc::exporter::{ExporterToSupervisor, SupervisorToExporter};
use common::ipc::gateway::{Begun, GatewayToSupervisor, Lost, SupervisorToGateway};
use common::ipc::setup::{
    ConnectorSetup, EchoSetup, ExporterSetup, GatewaySetup, ServerIdentity, SignerSetup,
};
use common::ipc::signer::{GatewayToSigner, SignerToGateway, SignerToSupervisor, SupervisorToSigner};
use common::ipc::wire::{self, Message, decode};
use common::log::Records;
use libfuzzer_sys::fuzz_target;

static SOME_FILE: LazyLock<File> = LazyLock::new(|| File::open("/dev/null").expect("/dev/null"));

fuzz_target!(|input: &[u8]| {
    let [settings, datagram @ ..] = input else { return };
    let with_fd = settings & 1 != 0;
    one::<SupervisorToGateway>(datagram, with_fd);
    one::<GatewayToSupervisor>(datagram, with_fd);
    one::<Begun>(datagram, with_fd);
    one::<SupervisorToConnector>(datagram, with_fd);
    one::<ConnectorToSupervisor>(datagram, with_fd);
    one::<GatewayToConnector>(datagram, with_fd);
    one::<ConnectorToGateway>(datagram, with_fd);
    one::<SupervisorToSigner>(datagram, with_fd);
    one::<SignerToSupervisor>(datagram, with_fd);
    one::<GatewayToSigner>(datagram, with_fd);
    one::<SignerToGateway>(datagram, with_fd);
    one::<SupervisorToEcho>(datagram, with_fd);
    one::<SupervisorToExporter>(datagram, with_fd);
    one::<ExporterToSupervisor>(datagram, with_fd);
    one::<Records>(datagram, with_fd);
    let _ = Lost::read(datagram);
    let _ = lost_target(datagram);
    // What roles read from files in memory.
    let _ = wire::fields::<GatewaySetup>(0, datagram);
    let _ = wire::fields::<ConnectorSetup>(0, datagram);
    let _ = wire::fields::<SignerSetup>(0, datagram);
    let _ = wire::fields::<EchoSetup>(0, datagram);
    let _ = wire::fields::<ExporterSetup>(0, datagram);
    let _ = wire::fields::<ServerIdentity>(0, datagram);
});

fn one<M: Message + Debug>(datagram: &[u8], with_fd: bool) {
    let fd: Option<OwnedFd> = with_fd.then(|| SOME_FILE.try_clone().expect("a descriptor").into());
    let Ok(message) = decode::<M>(datagram, fd) else { return };
    let encoded = message.encode().expect("what was read can be written");
    assert!(encoded.fd.is_none() || with_fd);
    let fd = encoded.fd.map(|fd| fd.try_clone_to_owned().expect("a descriptor"));
    let again: M = decode(encoded.bytes(), fd).expect("what was written can be read");
    if !with_fd {
        assert_eq!(format!("{again:?}"), format!("{message:?}"));
    }
}
