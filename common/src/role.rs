//! The names of the roles, the processes beside the supervisor.

use std::fmt;
use std::str::FromStr;

/// A role: the first argument of `websockify-worker`, and its name in log lines and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RoleName {
    /// Speaks TLS, HTTP and WebSocket with clients and forwards their sessions.
    Gateway,
    /// Decides which client gets which target, and dials it.
    Connector,
    /// Signs TLS handshakes with the private key of the instance.
    Signer,
    /// Serves metrics and health over HTTP.
    Exporter,
    /// Returns to the client what it receives: the target of the demo.
    Echo,
    /// Starts the wrapped program.
    Wrapper,
    /// Executes a plugin program of the administrator.
    Plugin,
}

/// The text is not the name of a role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no role {0:?}")]
pub struct UnknownRole(String);

impl RoleName {
    /// All roles.
    pub const ALL: [Self; 7] = [
        Self::Gateway,
        Self::Connector,
        Self::Signer,
        Self::Exporter,
        Self::Echo,
        Self::Wrapper,
        Self::Plugin,
    ];

    /// The name in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Connector => "connector",
            Self::Signer => "signer",
            Self::Exporter => "exporter",
            Self::Echo => "echo",
            Self::Wrapper => "wrapper",
            Self::Plugin => "plugin",
        }
    }
}

impl FromStr for RoleName {
    type Err = UnknownRole;

    fn from_str(name: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.as_str() == name).ok_or_else(|| UnknownRole(name.to_owned()))
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_is_found_by_its_name() {
        for role in RoleName::ALL {
            assert_eq!(role.to_string().parse(), Ok(role));
        }
        assert_eq!("Gateway".parse::<RoleName>().unwrap_err().to_string(), "there is no role \"Gateway\"");
    }
}
