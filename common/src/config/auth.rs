//! What clients must prove.

use std::path::PathBuf;

use super::Secret;
use super::plugin::{Kind, PluginError};

/// Where the original has its plugins: names may be written out in full.
const MODULE: &str = "websockify.auth_plugins.";

/// Something that clients must prove. Of several each must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// What.
    pub plugin: AuthPlugin,
    /// The file that the plugin's source was read from, if it was.
    pub source_file: Option<PathBuf>,
}

/// What a client must prove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthPlugin {
    /// It knows this user name and password, with a colon between them (RFC 7617).
    Basic(Secret),
    /// It is a page of one of these origins, as they stand in the `Origin` header (RFC 6454).
    Origin(Vec<String>),
    /// It has a valid certificate with one of these common names.
    CommonName(Vec<String>),
}

impl AuthPlugin {
    /// The names, as in the original.
    pub const NAMES: [&'static str; 3] = ["BasicHTTPAuth", "ExpectOrigin", "ClientCertCNAuth"];

    /// The plugin of a name, bare or with its module, on a source.
    ///
    /// # Errors
    ///
    /// When there is no such plugin, or nobody could ever pass with this source.
    pub fn new(name: &str, source: Option<&str>) -> Result<Self, PluginError> {
        let source = source.unwrap_or_default();
        let words = || source.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let needs = |name, what| Err(PluginError::Source { kind: Kind::Auth, name, what });
        match name.strip_prefix(MODULE).unwrap_or(name) {
            "BasicHTTPAuth" if !source.contains(':') => needs("BasicHTTPAuth", "a source user:password"),
            "BasicHTTPAuth" => Ok(Self::Basic(Secret::new(source.to_owned()))),
            "ExpectOrigin" => match words() {
                none if none.is_empty() => {
                    needs("ExpectOrigin", "a source of origins such as https://vnc.example.com")
                }
                origins => Ok(Self::Origin(origins)),
            },
            "ClientCertCNAuth" => match words() {
                none if none.is_empty() => needs("ClientCertCNAuth", "a source of common names"),
                names => Ok(Self::CommonName(names)),
            },
            other if other.contains(['.', ':']) => {
                Err(PluginError::NotYet { kind: Kind::Auth, name: name.to_owned() })
            }
            _ => Err(PluginError::Unknown { kind: Kind::Auth, name: name.to_owned() }),
        }
    }

    /// Its name, as in the original.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Basic(_) => "BasicHTTPAuth",
            Self::Origin(_) => "ExpectOrigin",
            Self::CommonName(_) => "ClientCertCNAuth",
        }
    }

    /// Its source, unless that is a secret.
    #[must_use]
    pub fn public_source(&self) -> Option<String> {
        match self {
            Self::Basic(_) => None,
            Self::Origin(words) | Self::CommonName(words) => Some(words.join(" ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_original_bare_or_with_their_module() {
        for name in AuthPlugin::NAMES {
            let plugin = AuthPlugin::new(name, Some("a:b")).unwrap();
            assert_eq!(plugin.name(), name);
            assert_eq!(AuthPlugin::new(&format!("websockify.auth_plugins.{name}"), Some("a:b")), Ok(plugin));
            assert!(matches!(AuthPlugin::new(name, None), Err(PluginError::Source { .. })));
            assert!(matches!(AuthPlugin::new(name, Some(" ")), Err(PluginError::Source { .. })));
        }
        for name in ["my.module.Class", "exec:/x"] {
            assert!(matches!(AuthPlugin::new(name, None), Err(PluginError::NotYet { .. })));
        }
        assert!(matches!(AuthPlugin::new("basic", None), Err(PluginError::Unknown { .. })));
    }

    #[test]
    fn lists_are_split_at_white_space() {
        let list = vec!["https://a".to_owned(), "https://b:8443".to_owned()];
        assert_eq!(
            AuthPlugin::new("ExpectOrigin", Some(" https://a\n\thttps://b:8443 ")),
            Ok(AuthPlugin::Origin(list))
        );
    }

    #[test]
    fn passwords_are_not_printed() {
        let plugin = AuthPlugin::new("BasicHTTPAuth", Some("user:geheim")).unwrap();
        assert!(!format!("{plugin:?}").contains("geheim"));
        assert_eq!(plugin.public_source(), None);
    }
}
