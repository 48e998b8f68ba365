//! Static files.

use serde::{Deserialize, Serialize};

use super::path::FilePath;

/// Help of `--file-only`, which is the negation of the key.
const FILE_ONLY: &str = "Don't list directories that have no index page";

/// Static files, served on the same port.
#[derive(Clone, Debug, PartialEq, Eq, Default, Deserialize, Serialize, clap::Args)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[command(next_help_heading = "Web server")]
pub struct Web {
    /// Serve the files beneath a directory on the same port.
    ///
    /// Nothing outside the directory is served. Symbolic links are followed if they lead inside. An absolute
    /// link is recognised as such by the directory's path, either as configured or with its own links
    /// resolved.
    #[arg(id = "web.root", long = "web", value_name = "DIR", default_value = "", hide_default_value = true)]
    #[cfg_attr(test, schemars(example = &"/usr/share/novnc"))]
    pub root: FilePath,
    /// List directories that have no index page.
    ///
    /// Without this, `/` redirects to `/vnc.html` if that page exists and there is no index page.
    #[arg(id = "web.listing", long = "file-only", action = clap::ArgAction::SetFalse)]
    #[arg(help = FILE_ONLY, long_help = FILE_ONLY)]
    #[serde(default)]
    pub listing: bool,
    /// Require authentication for these files as well.
    #[arg(id = "web.auth", long = "web-auth", hide_short_help = true)]
    #[serde(default)]
    pub auth: bool,
}
