//! Drop-ins for systemd. Values from a configuration are validated and escaped, so that they can't become
//! directives.

use std::fmt::Write;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use common::addr::ListenAddr;
use common::config::file::ListenKeys;

use crate::source::Source;

/// File name of the drop-ins. `override.conf`, which `systemctl edit` writes, takes precedence over it.
const FILE_NAME: &str = "50-websockify.conf";

/// Maximum length of a unix socket's path in bytes (unix(7)).
const MAX_SOCKET_PATH_BYTES: usize = 107;

/// The drop-ins of an instance.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Dropin {
    /// Pairs of a unit and the text of its drop-in.
    units: [(String, String); 2],
}

impl Dropin {
    /// Builds the drop-ins for a configuration.
    ///
    /// # Errors
    /// Fails if systemd can't listen at a configured address, with the reason for the administrator.
    pub(crate) fn new(source: &Source<'_>, keys: &ListenKeys) -> Result<Self, String> {
        let path = source.path.to_str().filter(|path| !path.chars().any(char::is_control));
        let path = path.ok_or("the file's path has control characters or is not UTF-8 text")?;
        let head = format!(
            "# Made by websockify-generator from {path}\n\n[Unit]\n# Lets systemctl tell of a changed file.\nSourcePath={}\n",
            escaped(path)
        );
        let mut socket = head.clone();
        // Without a configured address, the unit's socket in /run stays.
        if !keys.listen.is_empty() {
            socket += "\n[Socket]\nListenStream=\n";
        }
        for address in &keys.listen {
            let value = listen_stream(address, keys.prefer_ipv6).map_err(|reason| {
                format!("error: {path}: systemd can't listen on \"{address}\": {reason}")
            })?;
            // Writing to a string can't fail.
            let _ = writeln!(socket, "ListenStream={}", escaped(&value));
        }
        if keys.listen.iter().any(|address| matches!(address, ListenAddr::Unix(_))) {
            let _ = writeln!(socket, "SocketMode={:04o}", keys.listen_mode & 0o7777);
        }
        let mut service = head;
        if let Some(ListenAddr::Tcp { port, .. }) = &keys.metrics {
            // The service opens this listener itself, which its unit forbids by default.
            let _ = writeln!(service, "\n[Service]\nSocketBindAllow=tcp:{port}");
        }
        let unit = format!("websockify@{}.service", source.name);
        Ok(Self { units: [(source.unit(), socket), (unit, service)] })
    }

    /// Writes the drop-ins below `output`.
    pub(crate) fn write(&self, output: &Path) -> io::Result<()> {
        for (unit, text) in &self.units {
            let directory = output.join(format!("{unit}.d"));
            fs::create_dir_all(&directory)?;
            fs::write(directory.join(FILE_NAME), text)?;
        }
        Ok(())
    }
}

/// The value of `ListenStream=` (systemd.socket(5)). The error is the reason why there is none.
fn listen_stream(address: &ListenAddr, prefer_ipv6: bool) -> Result<String, String> {
    match address {
        ListenAddr::Tcp { port: 0, .. } => Err("port 0 lets the kernel choose, name a port".into()),
        ListenAddr::Tcp { host: None, port } => Ok(port.to_string()),
        // The only host name that means the same on every machine.
        ListenAddr::Tcp { host: Some(host), port } if host.eq_ignore_ascii_case("localhost") => {
            Ok(if prefer_ipv6 { format!("[::1]:{port}") } else { format!("127.0.0.1:{port}") })
        }
        ListenAddr::Tcp { host: Some(host), port } => match host.parse() {
            Ok(IpAddr::V4(ip)) => Ok(format!("{ip}:{port}")),
            Ok(IpAddr::V6(ip)) => Ok(format!("[{ip}]:{port}")),
            Err(_) => Err(format!("it resolves no names, write the IP address of {host:?}")),
        },
        ListenAddr::Unix(path) => {
            let path = path.to_str().ok_or("the path is not UTF-8 text")?;
            // systemd strips trailing spaces, and continues a line that ends with a backslash.
            let breaks_line = path.chars().any(char::is_control);
            if breaks_line || path.ends_with(['\\', ' ']) || !path.starts_with('/') {
                return Err("a path is absolute, without control characters, and ends neither with a space nor with a backslash".into());
            }
            if path.len() > MAX_SOCKET_PATH_BYTES {
                return Err(format!("a socket's path has at most {MAX_SOCKET_PATH_BYTES} bytes"));
            }
            Ok(path.into())
        }
    }
}

/// Escapes `%`, which begins a specifier.
fn escaped(value: &str) -> String {
    value.replace('%', "%%")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(text: &str) -> Result<String, String> {
        let path = Path::new("/etc/websockify/vnc.toml");
        let keys = common::config::file::parse_listeners(text, path).map_err(|error| error.to_string())?;
        let [(unit, text), (service, _)] = Dropin::new(&Source::new(path).unwrap(), &keys)?.units;
        assert_eq!((unit.as_str(), service.as_str()), ("websockify@vnc.socket", "websockify@vnc.service"));
        Ok(text)
    }

    fn values(text: &str) -> Vec<String> {
        let text = socket(text).unwrap();
        text.lines().filter_map(|line| line.strip_prefix("ListenStream=")).map(str::to_owned).collect()
    }

    #[test]
    fn every_listener_becomes_a_socket_and_the_one_of_the_unit_goes() {
        assert_eq!(values("listen = \"6080\""), ["", "6080"]);
        assert_eq!(values("listen = \"localhost:6080\""), ["", "127.0.0.1:6080"]);
        assert_eq!(values("listen = \"localhost:6080\"\nprefer-ipv6 = true"), ["", "[::1]:6080"]);
        assert_eq!(values("listen = [\"0.0.0.0:1\", \"[::1]:2\"]"), ["", "0.0.0.0:1", "[::1]:2"]);
    }

    #[test]
    fn without_listeners_the_socket_of_the_unit_stays() {
        assert_eq!(values(""), [""; 0]);
        assert!(!socket("").unwrap().contains("[Socket]"));
    }

    #[test]
    fn a_unix_socket_has_the_configured_mode() {
        let text = socket("listen = \"unix:/run/a b/100%.sock\"\nlisten-mode = \"660\"").unwrap();
        assert!(
            text.ends_with("ListenStream=\nListenStream=/run/a b/100%%.sock\nSocketMode=0660\n"),
            "{text}"
        );
    }

    fn service(text: &str) -> String {
        let path = Path::new("/etc/websockify/vnc.toml");
        let keys = common::config::file::parse_listeners(text, path).unwrap();
        let [_, (_, text)] = Dropin::new(&Source::new(path).unwrap(), &keys).unwrap().units;
        text
    }

    #[test]
    fn the_service_may_bind_the_port_of_metrics_and_no_other() {
        let text = service("listen = \"6080\"\n[metrics]\nlisten = \"127.0.0.1:9100\"");
        assert!(text.ends_with("\n[Service]\nSocketBindAllow=tcp:9100\n"), "{text}");
        for none in [
            "listen = \"6080\"",
            "listen = \"6080\"\n[metrics]\nlisten = \"unix:/run/m\"",
            "listen = \"6080\"\n[metrics]\nlisten = \"nonsense\"",
        ] {
            assert!(!service(none).contains("[Service]"), "{none}");
            assert_eq!(values(none), ["", "6080"]);
        }
    }

    #[test]
    fn unsupported_addresses_are_reported() {
        for (listen, reason) in [
            ("vnc.example.com:6080", "no names"),
            ("[fe80::1%eth0]:6080", "no names"),
            ("0", "port 0"),
            ("unix:/run/a\\\\", "absolute"),
            ("unix:/run/a\\n[Service]\\nExecStart=/bin/evil", "absolute"),
            ("unix:/run/a ", "absolute"),
        ] {
            let error = socket(&format!("listen = \"{listen}\"")).unwrap_err();
            assert!(
                error.contains(reason) && error.contains("/etc/websockify/vnc.toml"),
                "{listen}: {error}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn values_stay_on_their_line(path in "/[^\\p{Cc}]{0,40}|/.{0,20}\\n.{0,20}") {
            let keys = ListenKeys {
                listen: vec![ListenAddr::Unix(path.into())], listen_mode: 0o600, prefer_ipv6: false, metrics: None,
            };
            let source = Source::new(Path::new("/etc/websockify/vnc.toml")).unwrap();
            if let Ok(Dropin { units: [(_, text), _] }) = Dropin::new(&source, &keys) {
                let lines: Vec<_> = text.lines().collect();
                assert_eq!(lines.len(), 10, "{text}");
                assert!(!text.contains("\\\n"), "{text}");
            }
        }
    }
}
