//! Options of the log.

use super::{absolute, absolute_if_given, given};
use crate::config::cli::error::CliError;
use crate::config::cli::options::Options;
use crate::config::{Log, Syslog, SyslogServer};

pub(super) fn log(options: &Options) -> Result<Log, CliError> {
    let server = given(options.syslog.as_ref());
    if options.legacy_syslog && server.is_none() {
        return Err(CliError::usage("You must use --syslog to use --legacy-syslog"));
    }
    let server = server.map(|text| {
        let shown = text.to_string_lossy();
        match SyslogServer::parse(&shown) {
            Ok(SyslogServer::Unix(_)) => absolute(text).map(SyslogServer::Unix),
            Ok(udp) => Ok(udp),
            Err(error) => Err(CliError::usage("Error parsing syslog port")
                .help(format!("'{}' has {error}", shown.escape_debug()))),
        }
    });
    Ok(Log {
        traffic: options.traffic,
        file: absolute_if_given(options.log_file.as_ref())?,
        syslog: server.transpose()?.map(|server| Syslog { server, legacy: options.legacy_syslog }),
    })
}
