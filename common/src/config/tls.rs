//! TLS for clients and to targets.

use serde::{Deserialize, Serialize, Serializer};

use super::ciphers::Ciphers;
use super::option::OptionError;
use super::path::FilePath;
use super::secret::{HIDDEN, Secret, SecretFile};
use super::switch::Switch;
use super::value::{Name, Rejected, Value, quoted, text_value};

/// Default of `--cert`, in the current directory.
pub(super) const DEFAULT_CERTIFICATE: &str = "self.pem";

/// TLS for clients. One port serves clients with and without TLS.
#[derive(Clone, Debug, PartialEq, Eq, Default, Deserialize, Serialize, clap::Args)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[command(next_help_heading = "TLS")]
pub struct Tls {
    /// Certificate chain in PEM, leaf first. The file may also contain the key.
    ///
    /// A renewed file takes effect with the next connection. While the file is missing, TLS connections are
    /// rejected. Default on the command line: `self.pem` in the current directory.
    #[arg(id = "tls.certificate", long = "cert", value_name = "FILE")]
    #[arg(default_value = DEFAULT_CERTIFICATE, hide_default_value = true)]
    #[cfg_attr(test, schemars(example = &"/etc/ssl/vnc/fullchain.pem"))]
    pub certificate: FilePath,
    /// Private key in PEM. Default: the file of the certificate.
    #[arg(id = "tls.key", long = "key", value_name = "FILE")]
    #[cfg_attr(test, schemars(example = &"/etc/ssl/vnc/privkey.pem"))]
    pub key: Option<FilePath>,
    /// File that contains the pass phrase of an encrypted key and nothing else.
    #[arg(skip)]
    #[cfg_attr(test, schemars(example = &"key.password"))]
    pub key_password_file: Option<SecretFile>,
    /// The pass phrase itself, which only the command line accepts.
    #[arg(skip)]
    #[serde(skip_deserializing, rename = "key-password", serialize_with = "hidden")]
    #[cfg_attr(test, schemars(skip))]
    pub(super) key_password: Option<Secret>,
    /// File with keys of session tickets, for machines whose clients resume TLS sessions with any of them.
    ///
    /// One key or two, each a line as `openssl rand -hex 32` prints it: the first issues tickets, both open them. A
    /// change takes effect with the next connection. By default each start makes a key of its own.
    #[arg(skip)]
    #[cfg_attr(test, schemars(example = &"/etc/websockify/tls-tickets.keys"))]
    pub session_ticket_keys: Option<FilePath>,
    /// Reject connections without TLS. Default: only with `verify-client`.
    ///
    /// A client without TLS presents no certificate, so that `verify-client` with `required = false` is an
    /// error. On the command line, as in the original, such clients are served unless this option is given.
    #[arg(id = "tls.required", long = "ssl-only", action = clap::ArgAction::SetTrue)]
    #[serde(skip_serializing_if = "is_not_true")]
    #[cfg_attr(test, schemars(example = true))]
    pub(super) required: Option<bool>,
    /// Minimum version of TLS; on the command line `tlsv1_2`, which is the `default`, or `tlsv1_3`.
    #[arg(id = "tls.minimum-version", long = "ssl-version", value_name = "VERSION", hide_short_help = true)]
    #[arg(value_parser = TlsVersion::from_option, default_value = "default", hide_default_value = true)]
    #[serde(default)]
    pub minimum_version: TlsVersion,
    /// Cipher suites of TLS 1.2 in the syntax of `openssl ciphers`. Default: all that are supported.
    ///
    /// The suites of TLS 1.3 are always offered. Names without a supported suite cause a warning at the
    /// start.
    #[arg(id = "tls.ciphers", long = "ssl-ciphers", value_name = "LIST", hide_short_help = true)]
    #[arg(value_parser = Ciphers::from_option)]
    #[cfg_attr(test, schemars(example = &"HIGH:!AES128"))]
    pub ciphers: Option<Ciphers>,
    /// Reject clients without a valid certificate. In a file this implies `required`.
    #[arg(id = "tls.verify-client", long = "verify-client", hide_short_help = true)]
    #[serde(default)]
    pub verify_client: bool,
    /// Authorities in PEM for client certificates. Default: those of the system.
    #[arg(id = "tls.client-ca", long = "cafile", value_name = "FILE", hide_short_help = true)]
    #[cfg_attr(test, schemars(example = &"clients.pem"))]
    pub client_ca: Option<FilePath>,
}

impl Tls {
    /// Whether connections without TLS are rejected.
    #[must_use]
    pub fn is_required(&self) -> bool {
        self.required.unwrap_or(self.verify_client)
    }

    /// Whether clients with TLS must present a certificate while clients without TLS are served. Only a
    /// command line can configure this.
    pub(super) fn verifies_only_some(&self) -> bool {
        self.verify_client && !self.is_required()
    }

    /// Pass phrase of the private key, from the file or the command line.
    #[must_use]
    pub fn key_password(&self) -> Option<&Secret> {
        self.key_password.as_ref().or(self.key_password_file.as_ref().map(|file| &file.secret))
    }
}

/// Whether to omit the key when printing: `required = false` is either the default or invalid.
fn is_not_true(required: &Option<bool>) -> bool {
    *required != Some(true)
}

fn hidden<S: Serializer>(secret: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(|_| HIDDEN).serialize(serializer)
}

/// Minimum versions of TLS that can be configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    #[default]
    V1_2,
    /// TLS 1.3 (RFC 8446).
    V1_3,
}

impl TlsVersion {
    /// Values of `--ssl-version`.
    pub const OPTION_VALUES: &[&str] = &["default", "tlsv1_2", "tlsv1_3"];

    fn from_option(text: &str) -> Result<Self, OptionError> {
        match text {
            "default" => Ok(Self::default()),
            "tlsv1_2" => Ok(Self::V1_2),
            "tlsv1_3" => Ok(Self::V1_3),
            "tlsv1_1" => Err(OptionError::new(
                "TLS 1.1 is not supported",
                "it is insecure (RFC 8996); choose tlsv1_2 or tlsv1_3",
            )),
            other => Err(OptionError::choice(other, Self::OPTION_VALUES)),
        }
    }
}

impl Value for TlsVersion {
    const EXPECTED: &'static str = "\"1.2\" or \"1.3\"";

    fn from_text(text: &str) -> Result<Self, Rejected> {
        match text {
            "1.2" => Ok(Self::V1_2),
            "1.3" => Ok(Self::V1_3),
            "1.0" | "1.1" => Err(Rejected::new(
                format!("TLS {text} is not supported"),
                "it is insecure (RFC 8996); write \"1.2\" or \"1.3\"",
            )),
            _ => Err(Rejected::new(format!("unknown version {}", quoted(text)), "write \"1.2\" or \"1.3\"")),
        }
    }
}

text_value!(TlsVersion);

impl Serialize for TlsVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::V1_2 => "1.2",
            Self::V1_3 => "1.3",
        })
    }
}

/// TLS to the target, whose certificate is verified. `target-tls = true` at the top of the file is the same
/// as an empty table.
#[derive(Clone, Debug, PartialEq, Eq, Default, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TargetTls {
    /// Authorities in PEM to trust instead of those of the system.
    #[cfg_attr(test, schemars(example = &"ca.pem"))]
    pub ca_file: Option<FilePath>,
    /// Name that the target's certificate must contain. Default: the host of the target.
    ///
    /// Required if the target is a unix socket.
    #[cfg_attr(test, schemars(example = &"vnc.example.com"))]
    pub server_name: Option<Name>,
}

impl Switch for TargetTls {
    const EXPECTED: &'static str = "true, false or a table with `ca-file` and `server-name`";
    const IS_EMPTY_BY_DEFAULT: bool = true;
}
