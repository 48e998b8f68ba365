//! Messages as roles of earlier versions write them, which a supervisor understands after an upgrade.

use serde::{Deserialize, Serialize};

use super::ConnectionId;
use super::connector::Dialled;
use super::gateway::{ClosedBy, Count, Ended, Report, SessionSummary};
use super::request::{Request, Requested};
use crate::log;

/// [`Report`] with tag 3.
pub(crate) type Report3 = EarlierReport<Summary3>;

/// [`Report`] with tag 8.
pub(crate) type Report8 = EarlierReport<Summary8>;

/// [`Report`] when less was told about sessions.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EarlierReport<Summary> {
    lost: Vec<ConnectionId>,
    ended: Vec<(ConnectionId, Option<Summary>)>,
}

/// Two counts of bytes, who has ended the session, and the code.
type Summary3 = (u64, u64, ClosedBy, u16);

/// The same and the reason.
type Summary8 = (u64, u64, ClosedBy, u16, String);

impl<Summary: Into<SessionSummary>> From<EarlierReport<Summary>> for Report {
    fn from(earlier: EarlierReport<Summary>) -> Self {
        let ended = earlier.ended.into_iter();
        Self {
            lost: earlier.lost,
            ended: ended.map(|(id, session)| Ended { id, session: session.map(Into::into) }).collect(),
        }
    }
}

impl From<Summary3> for SessionSummary {
    fn from((to_target, to_client, closed_by, close_code): Summary3) -> Self {
        (to_target, to_client, closed_by, close_code, String::new()).into()
    }
}

impl From<Summary8> for SessionSummary {
    fn from((to_target, to_client, closed_by, close_code, close_reason): Summary8) -> Self {
        Self { to_target, to_client, closed_by, close_code, close_reason, frames: None }
    }
}

/// One of [`Count`] with tag 4.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Count4 {
    id: ConnectionId,
    to_target: u64,
    to_client: u64,
}

impl From<Count4> for Count {
    fn from(earlier: Count4) -> Self {
        let Count4 { id, to_target, to_client } = earlier;
        Self { id, to_target, to_client, frames: None }
    }
}

/// One of [`Requested`] with tag 6.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Requested6 {
    id: ConnectionId,
    host: Option<String>,
    path: Option<String>,
    origin: Option<String>,
    user_agent: Option<String>,
    subprotocol: Option<String>,
    tls_version: Option<String>,
    tls_cipher: Option<String>,
}

impl From<Requested6> for Requested {
    fn from(earlier: Requested6) -> Self {
        let Requested6 { id, host, path, origin, user_agent, subprotocol, tls_version, tls_cipher } = earlier;
        let request = Request {
            host,
            path,
            origin,
            user_agent,
            subprotocol,
            tls_version,
            tls_cipher,
            ..Request::default()
        };
        Self { id, request }
    }
}

/// One of [`Dialled`] with tag 3.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Dialled3 {
    id: ConnectionId,
    client: String,
    target: String,
    secured: bool,
    failure: Option<String>,
}

impl From<Dialled3> for Dialled {
    fn from(earlier: Dialled3) -> Self {
        let Dialled3 { id, client, target, secured, failure } = earlier;
        Self { id, client, target, secured, failure, connect: None, user: None, token: None }
    }
}

/// [`log::Records`] with tag 1.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Records1 {
    dropped: u32,
    records: Vec<(log::Severity, Option<String>, String)>,
    marks: String,
}

impl From<Records1> for log::Records {
    fn from(earlier: Records1) -> Self {
        let records = earlier.records.into_iter();
        Self {
            dropped: earlier.dropped,
            records: records
                .map(|(severity, client, text)| log::Record { severity, client, text, event: None })
                .collect(),
            marks: earlier.marks,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::connector::ConnectorToSupervisor;
    use crate::ipc::gateway::GatewayToSupervisor;
    use crate::ipc::wire::{Message, decode, fields};

    /// What a gateway of the first version sends about session 7.
    const REPORT: &[u8] = &[1, 3, 0, 1, 7, 1, 3, 4, 0, 0xe8, 7];

    #[test]
    fn what_earlier_gateways_say_is_understood() {
        let Ok(GatewayToSupervisor::Report(report)) = decode(REPORT, None) else { panic!("no report") };
        let [Ended { id: ConnectionId(7), session: Some(summary) }] = &report.ended[..] else { panic!() };
        assert_eq!((summary.to_target, summary.to_client, summary.close_code), (3, 4, 1000));
        assert_eq!((summary.close_reason.as_str(), summary.frames), ("", None));
        let report = [1, 8, 0, 1, 7, 1, 3, 4, 0, 0xe8, 7, 2, b'o', b'k'];
        let Ok(GatewayToSupervisor::Report(report)) = decode(&report, None) else { panic!("no report") };
        let [Ended { id: ConnectionId(7), session: Some(summary) }] = &report.ended[..] else { panic!() };
        assert_eq!((summary.to_client, summary.close_reason.as_str(), summary.frames), (4, "ok", None));
        let Ok(GatewayToSupervisor::Counts(counts)) = decode(&[1, 4, 1, 7, 3, 4], None) else { panic!() };
        assert_eq!(counts, [Count { id: ConnectionId(7), to_target: 3, to_client: 4, frames: None }]);
        let requested = [1, 6, 1, 7, 1, 1, b'h', 0, 0, 0, 0, 0, 0];
        let Ok(GatewayToSupervisor::Requested(requested)) = decode(&requested, None) else { panic!() };
        assert_eq!(requested[0].request.host.as_deref(), Some("h"));
    }

    #[test]
    fn what_an_earlier_connector_says_is_understood() {
        let dialled = [1, 3, 1, 7, 1, b'c', 1, b't', 0, 0];
        let Ok(ConnectorToSupervisor::Dialled(dialled)) = decode(&dialled, None) else { panic!() };
        assert_eq!((dialled[0].target.as_str(), dialled[0].connect), ("t", None));
    }

    #[test]
    fn what_earlier_roles_log_is_understood() {
        let records = [1, 1, 0, 1, 1, 0, 2, b'o', b'k', 0];
        let records: log::Records = decode(&records, None).unwrap();
        assert_eq!((records.records[0].text.as_str(), records.records[0].event), ("ok", None));
        let now = records.encode().unwrap();
        assert_eq!(decode::<log::Records>(now.bytes(), None).unwrap(), records);
        assert!(fields::<Records1>(1, &now.bytes()[2..]).is_err(), "another form, and another tag");
    }
}
