//! Static files.

use serde::{Deserialize, Serialize};

use super::path::FilePath;

/// Help of `--file-only`, which says the opposite of the key.
const FILE_ONLY: &str = "Don't list directories that have no index page";

/// Static files on the same port.
#[derive(Clone, Debug, PartialEq, Eq, Default, Deserialize, Serialize, clap::Args)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[command(next_help_heading = "Web server")]
pub struct Web {
    /// Serve the files beneath a directory on the same port.
    ///
    /// Nothing outside the directory is served. A symbolic link is followed if it leads inside; an absolute one is
    /// known to do so by the path of the directory, as it is configured or as it really is.
    #[arg(id = "web.root", long = "web", value_name = "DIR", default_value = "", hide_default_value = true)]
    #[cfg_attr(test, schemars(example = &"/usr/share/novnc"))]
    pub root: FilePath,
    /// Show directories without an index page as a list.
    ///
    /// Without it, `/` leads to `/vnc.html` if there is such a page and no index page.
    #[arg(id = "web.listing", long = "file-only", action = clap::ArgAction::SetFalse)]
    #[arg(help = FILE_ONLY, long_help = FILE_ONLY)]
    #[serde(default)]
    pub listing: bool,
    /// Ask for authentication before files are served, too.
    #[arg(id = "web.auth", long = "web-auth", hide_short_help = true)]
    #[serde(default)]
    pub auth: bool,
}
