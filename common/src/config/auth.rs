//! What clients must prove.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::path::PathBuf;

use super::Secret;
use super::own_plugin::OwnPlugin;
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
    /// What one of the administrator's own asks for.
    Own {
        /// Which.
        plugin: OwnPlugin,
        /// Whatever it makes of it.
        source: Option<Secret>,
    },
}

impl AuthPlugin {
    /// The names, as in the original.
    pub const NAMES: [&'static str; 3] = ["BasicHTTPAuth", "ExpectOrigin", "ClientCertCNAuth"];

    /// The plugin of a name, bare or with its module, on a source; `absolute` says where a path leads.
    ///
    /// # Errors
    ///
    /// When there is no such plugin, or nobody could ever pass with this source.
    pub fn new(
        name: &str,
        given: Option<&str>,
        absolute: impl Fn(&OsStr) -> PathBuf,
    ) -> Result<Self, PluginError> {
        let source = given.unwrap_or_default();
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
            _ => {
                match OwnPlugin::parse(name, absolute).map_err(|error| PluginError::Own(Kind::Auth, error))? {
                    Some(plugin) => {
                        Ok(Self::Own { plugin, source: given.map(|source| Secret::new(source.to_owned())) })
                    }
                    None => Err(PluginError::Unknown { kind: Kind::Auth, name: name.to_owned() }),
                }
            }
        }
    }

    /// Its name, as in the original.
    #[must_use]
    pub fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Basic(_) => "BasicHTTPAuth",
            Self::Origin(_) => "ExpectOrigin",
            Self::CommonName(_) => "ClientCertCNAuth",
            Self::Own { plugin, .. } => return Cow::Owned(plugin.to_string()),
        })
    }

    /// Its source, unless that is or may be a secret.
    #[must_use]
    pub fn public_source(&self) -> Option<String> {
        match self {
            Self::Basic(_) | Self::Own { .. } => None,
            Self::Origin(words) | Self::CommonName(words) => Some(words.join(" ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn plugin(name: &str, source: Option<&str>) -> Result<AuthPlugin, PluginError> {
        AuthPlugin::new(name, source, |path| Path::new("/folder").join(path))
    }

    #[test]
    fn names_are_those_of_the_original_bare_or_with_their_module() {
        for name in AuthPlugin::NAMES {
            let bare = plugin(name, Some("a:b")).unwrap();
            assert_eq!(bare.name(), name);
            assert_eq!(plugin(&format!("websockify.auth_plugins.{name}"), Some("a:b")), Ok(bare));
            assert!(matches!(plugin(name, None), Err(PluginError::Source { .. })));
            assert!(matches!(plugin(name, Some(" ")), Err(PluginError::Source { .. })));
        }
        assert!(matches!(plugin("basic", None), Err(PluginError::Unknown { .. })));
    }

    #[test]
    fn own_plugins_may_do_without_a_source() {
        for (name, shown) in [("my.module.Class", "my.module.Class"), ("exec:x", "exec:/folder/x")] {
            let own = plugin(name, Some("hush")).unwrap();
            assert_eq!((own.name().as_ref(), own.public_source()), (shown, None));
            assert!(!format!("{own:?}").contains("hush"));
            assert!(matches!(plugin(name, None), Ok(AuthPlugin::Own { source: None, .. })));
        }
        assert!(matches!(plugin("exec:", None), Err(PluginError::Own(Kind::Auth, _))));
    }

    #[test]
    fn lists_are_split_at_white_space() {
        let list = vec!["https://a".to_owned(), "https://b:8443".to_owned()];
        assert_eq!(
            plugin("ExpectOrigin", Some(" https://a\n\thttps://b:8443 ")),
            Ok(AuthPlugin::Origin(list))
        );
    }

    #[test]
    fn passwords_are_not_printed() {
        let basic = plugin("BasicHTTPAuth", Some("user:geheim")).unwrap();
        assert!(!format!("{basic:?}").contains("geheim"));
        assert_eq!(basic.public_source(), None);
    }
}
