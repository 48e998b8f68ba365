//! Authentication of clients (`[[auth]]`).

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::external_plugin::ExternalPlugin;
use super::path::FilePath;
use super::plugin::{Kind, PluginError};
use super::secret::{HIDDEN, Secret, SecretFile};
use super::value::{Element, Name, Rejected};

/// The original's module of plugins. Names may be given with it.
const MODULE: &str = "websockify.auth_plugins.";

/// What clients must prove to be connected. With several tables `[[auth]]`, all of them must accept the
/// client.
#[derive(Clone, Debug, Deserialize, Serialize, clap::Args)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(transform = super::tests::schema::source))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[serde(
    expecting = "a table [auth], or several [[auth]], with `plugin` and `source`, `source-file` or `users-file`"
)]
#[command(next_help_heading = "Authentication")]
pub(super) struct AuthTable {
    /// Serve only authenticated clients: `BasicHTTPAuth`, `ExpectOrigin`, `ClientCertCNAuth`, or an external
    /// plugin.
    ///
    /// `BasicHTTPAuth` asks for a user name and a password. `ExpectOrigin` accepts pages of certain origins.
    /// `ClientCertCNAuth` accepts client certificates with certain common names, and needs `verify-client`.
    /// External plugins decide themselves: `exec:PROGRAM`, `unix:SOCKET`, an http or https URL, or a Python
    /// class, `module.Class`.
    #[arg(id = "auth.plugin", long = "auth-plugin", value_name = "NAME")]
    #[arg(default_value = "", hide_default_value = true)]
    #[cfg_attr(test, schemars(example = &"BasicHTTPAuth"))]
    pub(super) plugin: Name,
    /// What clients must prove: `user:password`, origins, or common names of certificates.
    ///
    /// Origins and common names are separated by blanks. External plugins may do without a source. Other
    /// users of the machine can see a command line in the list of processes; `source-file` in a configuration
    /// file avoids that.
    #[arg(id = "auth.source", long = "auth-source", value_name = "ARG")]
    #[cfg_attr(test, schemars(example = &"user:password"))]
    pub(super) source: Option<Name>,
    /// A file that contains the source and nothing else. Only the user who starts the service must be able to
    /// read it.
    #[arg(skip)]
    #[cfg_attr(test, schemars(example = &"vnc.password"))]
    pub(super) source_file: Option<FilePath>,
    /// A file of users for `BasicHTTPAuth`, as `htpasswd -B` writes it. It takes the place of `source`.
    ///
    /// Each line has the name of a user, a colon, and a hash of the password by bcrypt (`htpasswd -B`), SHA-crypt
    /// (`openssl passwd -6`) or Argon2. A changed file takes effect with the next connection. Only the user who starts
    /// the service must be able to read it.
    #[arg(skip)]
    #[cfg_attr(test, schemars(example = &"vnc.htpasswd"))]
    pub(super) users_file: Option<FilePath>,
    /// User to run the plugin as, if it is a program or a Python class and the service is started as root.
    ///
    /// Default: `websockify-plugin` if that user exists, else the user of the other processes.
    #[arg(skip)]
    #[cfg_attr(test, schemars(example = &"websockify-plugin"))]
    pub(super) user: Option<Name>,
}

/// An authentication method. Clients must pass all that are configured.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "AuthTable", into = "AuthTable")]
pub struct Auth {
    /// The method and its source.
    pub plugin: AuthPlugin,
    /// The file that the source was read from, if it was given by `source-file`.
    pub source_file: Option<FilePath>,
    /// User to run an external plugin as, if configured.
    pub user: Option<Name>,
}

impl TryFrom<AuthTable> for Auth {
    type Error = Rejected;

    fn try_from(table: AuthTable) -> Result<Self, Rejected> {
        let AuthTable { plugin, source, source_file, users_file, user } = table;
        if let Some(path) = users_file {
            let file = Self { plugin: AuthPlugin::Users(path), source_file: None, user: None };
            let problem = match plugin.strip_prefix(MODULE).unwrap_or(&plugin) {
                _ if source.is_some() || source_file.is_some() => "`users-file` can't be used with a source",
                "BasicHTTPAuth" if user.is_none() => return Ok(file),
                _ => "`users-file` has an effect with `BasicHTTPAuth` only",
            };
            return Err(Rejected::at("users-file", problem, "leave one of the two out"));
        }
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
        let users_file = match &plugin {
            AuthPlugin::Users(path) => Some(path.clone()),
            _ => None,
        };
        let source = match (plugin.public_source(), &plugin) {
            _ if source_file.is_some() || users_file.is_some() => None,
            (None, AuthPlugin::External { source: None, .. }) => None,
            (public, _) => Some(public.unwrap_or(HIDDEN.to_owned())),
        };
        if let (None, AuthPlugin::Basic(_)) = (&source_file, &plugin) {
            // Without a source the table would be invalid. Print a file name, which the administrator has to
            // fill in.
            source_file = Some(FilePath::from("/path/to/file"));
        }
        Self {
            plugin: Name::from(&*plugin.name()),
            source: source.as_deref().map(Name::from),
            source_file,
            users_file,
            user,
        }
    }
}

impl Element for Auth {
    const EXPECTED_MANY: &'static str =
        "a table [auth], or several [[auth]], with `plugin` and `source`, `source-file` or `users-file`";
}

/// A method with its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthPlugin {
    /// User name and password, separated by a colon (RFC 7617).
    Basic(Secret),
    /// A file of user names and hashes of passwords.
    Users(FilePath),
    /// Accepted values of the `Origin` header (RFC 6454).
    Origin(Vec<String>),
    /// Accepted common names of client certificates.
    CommonName(Vec<String>),
    /// An external plugin.
    External {
        /// How to reach the plugin.
        plugin: ExternalPlugin,
        /// The source, which is passed to the plugin unchanged.
        source: Option<Secret>,
    },
}

impl AuthPlugin {
    /// Names of the built-in methods, as in the original.
    pub const NAMES: [&'static str; 3] = ["BasicHTTPAuth", "ExpectOrigin", "ClientCertCNAuth"];

    /// Creates the method `name`, given with or without its module, from its source. Relative paths start at
    /// the base directory of the configuration that is being read.
    ///
    /// # Errors
    ///
    /// Fails if there is no such plugin, or if no client could ever pass with this source.
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

    /// Name of the method, as in the original.
    #[must_use]
    pub fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Basic(_) | Self::Users(_) => "BasicHTTPAuth",
            Self::Origin(_) => "ExpectOrigin",
            Self::CommonName(_) => "ClientCertCNAuth",
            Self::External { plugin, .. } => return Cow::Owned(plugin.to_string()),
        })
    }

    /// The source, unless it is or may be a secret.
    #[must_use]
    pub fn public_source(&self) -> Option<String> {
        match self {
            Self::Basic(_) | Self::Users(_) | Self::External { .. } => None,
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
