//! Checks which configured files are hidden from the service by its unit.

use std::path::Path;

use common::addr::TargetAddr;
use common::config::token::TokenPlugin;
use common::config::{Config, Target};

use crate::systemctl::{self, Properties, first};

/// A setting of the unit, the directories that it hides, and a setting that shows them.
const HIDING: [(&str, &[&str], &str); 2] = [
    ("ProtectHome", &["/home", "/root", "/run/user"], "ProtectHome=read-only"),
    ("PrivateTmp", &["/tmp", "/var/tmp"], "PrivateTmp=no"),
];

/// Returns warnings about files that the service of an instance can't see, if systemd and the unit are
/// present.
pub(crate) fn problems(name: &str, config: &Config) -> Vec<String> {
    let unit = format!("websockify@{name}.service");
    match systemctl::show(&unit, "LoadState,ProtectHome,PrivateTmp") {
        Ok(unit) if first(&unit, "LoadState") == "loaded" => hidden(name, config, &unit),
        // The instance is not run by systemd.
        _ => Vec::new(),
    }
}

fn hidden(name: &str, config: &Config, unit: &Properties) -> Vec<String> {
    let mut problems = Vec::new();
    for (key, path) in named(config) {
        for (setting, directories, help) in HIDING {
            let hides = match first(unit, setting) {
                "yes" | "tmpfs" | "disconnected" => {
                    directories.iter().any(|directory| path.starts_with(directory))
                }
                _ => false,
            };
            if hides {
                problems.push(format!(
                    "warning: {key}: the service does not see {}, because of {setting}= in its unit\n\
                     help: systemctl edit websockify@{name}.service, and add below [Service]: {help}",
                    path.display(),
                ));
            }
        }
    }
    problems
}

/// The files and directories that a service opens, with their keys.
fn named(config: &Config) -> Vec<(&'static str, &Path)> {
    let mut named: Vec<(&'static str, &Path)> = Vec::new();
    if let Some((root, _)) = config.web_root() {
        named.push(("web.root", root));
    }
    if let Some(tls) = &config.tls {
        named.push(("tls.certificate", &tls.certificate));
        named.extend(tls.key.as_deref().map(|path| ("tls.key", path)));
        named.extend(tls.client_ca.as_deref().map(|path| ("tls.client-ca", path)));
    }
    named.extend(config.users_file().map(|path| ("auth.users-file", &**path)));
    match config.target() {
        Target::Static(TargetAddr::Unix(path)) => named.push(("target", path)),
        Target::Tokens(tokens) => match &tokens.plugin {
            TokenPlugin::File(path)
            | TokenPlugin::ReadOnlyFile(path)
            | TokenPlugin::FileName(path)
            | TokenPlugin::Table(path)
            | TokenPlugin::SocketDirectory(path)
            | TokenPlugin::Jwt(path)
            | TokenPlugin::SignedLink(Some(path)) => named.push(("token.source", path)),
            TokenPlugin::SignedLink(None)
            | TokenPlugin::TextApi(_)
            | TokenPlugin::JsonApi(_)
            | TokenPlugin::Redis(_)
            | TokenPlugin::External { .. } => {}
        },
        Target::Static(TargetAddr::Tcp { .. }) | Target::Demo | Target::Wrapped(_) => {}
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_files_and_no_others_are_reported() {
        let text = "target = \"unix:/tmp/.X11-unix/X0\"\n[web]\nroot = \"/home/alice/noVNC\"\n\
                    [tls]\ncertificate = \"/etc/ssl/vnc.pem\"";
        let config = common::config::file::parse(text, Path::new("/etc/websockify/vnc.toml")).unwrap();
        let unit = |home: &str, tmp: &str| {
            let of = |name: &str, value: &str| (name.to_owned(), vec![value.to_owned()]);
            Properties::from([of("ProtectHome", home), of("PrivateTmp", tmp)])
        };
        let keys = |home, tmp| {
            let problems = hidden("vnc", &config, &unit(home, tmp));
            problems.iter().filter_map(|one| Some(one.split(": ").nth(1)?.to_owned())).collect::<Vec<_>>()
        };
        assert_eq!(keys("yes", "yes"), ["web.root", "target"]);
        assert_eq!(keys("read-only", "yes"), ["target"]);
        assert_eq!(keys("read-only", "no"), [""; 0]);
        let told = hidden("vnc", &config, &unit("yes", "no")).join("");
        assert!(told.contains("/home/alice/noVNC") && told.contains("ProtectHome=read-only"), "{told}");
    }
}
