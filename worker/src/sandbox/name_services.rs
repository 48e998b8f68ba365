//! Requirements of `getaddrinfo` beside files and name servers.

use std::fs;
use std::path::Path;

/// The configuration of name services (nsswitch.conf(5)), and the sockets of the caching daemon that may
/// precede them all.
const CONFIGURATION: &str = "/etc/nsswitch.conf";
const CACHES: [&str; 2] = ["/run/nscd/socket", "/var/run/nscd/socket"];

/// Services that only read files or query name servers. Others, such as `resolve` and `mdns4_minimal`, query
/// a daemon over a unix socket.
const WITHOUT_DAEMON: [&str; 3] = ["files", "dns", "myhostname"];

/// Whether resolving names requires unix sockets.
#[must_use]
pub fn need_unix_sockets() -> bool {
    // Without this file, the C library reads files and queries name servers.
    let text = fs::read_to_string(CONFIGURATION).unwrap_or_default();
    ask_daemons(&text) || CACHES.iter().any(|socket| Path::new(socket).exists())
}

fn ask_daemons(configuration: &str) -> bool {
    let lines = configuration.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let services = lines.filter_map(|line| line.strip_prefix("hosts:")).flat_map(str::split_whitespace);
    // Actions in brackets follow a service.
    let mut in_brackets = false;
    services
        .filter(|word| {
            let is_action = in_brackets || word.starts_with('[');
            in_brackets = is_action && !word.ends_with(']');
            !is_action
        })
        .any(|service| !WITHOUT_DAEMON.contains(&service))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_services_that_ask_a_daemon_need_unix_sockets() {
        for (line, expected) in [
            ("", false),
            ("hosts: files dns", false),
            ("hosts:\tfiles myhostname dns # resolve", false),
            ("hosts: files [NOTFOUND=return] dns", false),
            ("hosts: files [NOTFOUND=return SUCCESS=continue] dns", false),
            ("passwd: files systemd\nhosts: files dns\ngroup: sss", false),
            ("hosts: files resolve [!UNAVAIL=return] dns", true),
            ("hosts: files mdns4_minimal [NOTFOUND=return] dns", true),
        ] {
            assert_eq!(ask_daemons(line), expected, "{line}");
        }
    }
}
