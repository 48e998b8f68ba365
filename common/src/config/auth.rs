//! What clients must prove.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::external_plugin::ExternalPlugin;
use super::path::FilePath;
use super::plugin::{Kind, PluginError};
use super::secret::{HIDDEN, Secret, SecretFile};
use super::value::{Element, Name, Rejected};

/// Where the original has its plugins: names may be written out in full.
const MODULE: &str = "websockify.auth_plugins.";

/// What clients must prove to be connected. Several tables `[[auth]]` must all be proved.
#[derive(Clone, Debug, Deserialize, Serialize, clap::Args)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(transform = super::tests::schema::source))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[serde(expecting = "a table [auth], or several [[auth]], with `plugin` and `source` or `source-file`")]
#[command(next_help_heading = "Authentication")]
pub(super) struct AuthTable {
    /// Serve only clients that prove who they are: `BasicHTTPAuth`, `ExpectOrigin`, `ClientCertCNAuth`, or an external
    /// plugin.
    ///
    /// `BasicHTTPAuth` asks for a user name and a password, `ExpectOrigin` lets in pages of some origins,
    /// `ClientCertCNAuth` clients with certificates of some common names, with `verify-client`. External plugins,
    /// which decide themselves, are `exec:PROGRAM`, `unix:SOCKET`, an http or https URL, or a class of Python,
    /// `module.Class`.
    #[arg(id = "auth.plugin", long = "auth-plugin", value_name = "NAME")]
    #[arg(default_value = "", hide_default_value = true)]
    #[cfg_attr(test, schemars(example = &"BasicHTTPAuth"))]
    pub(super) plugin: Name,
    /// What they must prove: `user:password`, origins, or common names of certificates.
    ///
    /// Origins and common names have blanks between them. An external plugin may do without. Other users of the machine can see what stands on a command line in the
    /// list of processes; `source-file` in a configuration file hides it.
    #[arg(id = "auth.source", long = "auth-source", value_name = "ARG")]
    #[cfg_attr(test, schemars(example = &"user:password"))]
    pub(super) source: Option<Name>,
    /// A file that holds the source and nothing else. Only the user who starts the service need be able to read it.
    #[arg(skip)]
    #[cfg_attr(test, schemars(example = &"vnc.password"))]
    pub(super) source_file: Option<FilePath>,
    /// User to run a plugin that is a program or a class of Python as, when started as root.
    ///
    /// Default: `websockify-plugin` if there is such a user, else that of the other processes.
    #[arg(skip)]
    #[cfg_attr(test, schemars(example = &"websockify-plugin"))]
    pub(super) user: Option<Name>,
}

/// Something that clients must prove. Of several each must be.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "AuthTable", into = "AuthTable")]
pub struct Auth {
    /// What.
    pub plugin: AuthPlugin,
    /// The file that the plugin's source was read from, if it was.
    pub source_file: Option<FilePath>,
    /// The user that a plugin which is started runs as, if that is said.
    pub user: Option<Name>,
}

impl TryFrom<AuthTable> for Auth {
    type Error = Rejected;

    fn try_from(table: AuthTable) -> Result<Self, Rejected> {
        let AuthTable { plugin, source, source_file, user } = table;
        if source.is_some() && source_file.is_some() {
            return Err(Rejected::two_sources());
        }
        let secret = SecretFile::source(source_file.as_ref())?;
        let source = source.as_deref().or(secret.as_ref().map(Secret::reveal));
        let plugin = AuthPlugin::new(&plugin, source)?;
        let external = match &plugin {
            AuthPlugin::External { plugin, .. } => Some(plugin),
            _ => None,
        };
        ExternalPlugin::check_user(external, user.as_ref())?;
        Ok(Self { plugin, source_file, user })
    }
}

impl From<Auth> for AuthTable {
    fn from(auth: Auth) -> Self {
        let Auth { plugin, mut source_file, user } = auth;
        let source = match (plugin.public_source(), &plugin) {
            _ if source_file.is_some() => None,
            (None, AuthPlugin::External { source: None, .. }) => None,
            (public, _) => Some(public.unwrap_or(HIDDEN.to_owned())),
        };
        if let (None, AuthPlugin::Basic(_)) = (&source_file, &plugin) {
            // The table is none without a source, so that it needs a file that somebody has yet to write.
            source_file = Some(FilePath::from("/path/to/file"));
        }
        Self {
            plugin: Name::from(&*plugin.name()),
            source: source.as_deref().map(Name::from),
            source_file,
            user,
        }
    }
}

impl Element for Auth {
    const EXPECTED_MANY: &'static str =
        "a table [auth], or several [[auth]], with `plugin` and `source` or `source-file`";
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
    /// What a plugin that the administrator provides asks for.
    External {
        /// How it is reached.
        plugin: ExternalPlugin,
        /// Handed to it as it is.
        source: Option<Secret>,
    },
}

impl AuthPlugin {
    /// The names, as in the original.
    pub const NAMES: [&'static str; 3] = ["BasicHTTPAuth", "ExpectOrigin", "ClientCertCNAuth"];

    /// The plugin of a name, bare or with its module, on a source. Relative paths start where those of the
    /// configuration do that is being read.
    ///
    /// # Errors
    ///
    /// When there is no such plugin, or nobody could ever pass with this source.
    pub fn new(name: &str, given: Option<&str>) -> Result<Self, PluginError> {
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
            _ => match ExternalPlugin::parse(name)
                .map_err(|error| PluginError::External(Kind::Auth, error))?
            {
                Some(plugin) => {
                    Ok(Self::External { plugin, source: given.map(|source| Secret::new(source.to_owned())) })
                }
                None => {
                    Err(PluginError::Unknown { kind: Kind::Auth, name: name.to_owned(), known: &Self::NAMES })
                }
            },
        }
    }

    /// Its name, as in the original.
    #[must_use]
    pub fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Basic(_) => "BasicHTTPAuth",
            Self::Origin(_) => "ExpectOrigin",
            Self::CommonName(_) => "ClientCertCNAuth",
            Self::External { plugin, .. } => return Cow::Owned(plugin.to_string()),
        })
    }

    /// Its source, unless that is or may be a secret.
    #[must_use]
    pub fn public_source(&self) -> Option<String> {
        match self {
            Self::Basic(_) | Self::External { .. } => None,
            Self::Origin(words) | Self::CommonName(words) => Some(words.join(" ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::path::relative_to;

    fn plugin(name: &str, source: Option<&str>) -> Result<AuthPlugin, PluginError> {
        relative_to(Path::new("/directory"), || AuthPlugin::new(name, source))
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
    fn external_plugins_may_do_without_a_source() {
        for (name, shown) in [("my.module.Class", "my.module.Class"), ("exec:x", "exec:/directory/x")] {
            let external = plugin(name, Some("hush")).unwrap();
            assert_eq!((external.name().as_ref(), external.public_source()), (shown, None));
            assert!(!format!("{external:?}").contains("hush"));
            assert!(matches!(plugin(name, None), Ok(AuthPlugin::External { source: None, .. })));
        }
        assert!(matches!(plugin("exec:", None), Err(PluginError::External(Kind::Auth, _))));
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
