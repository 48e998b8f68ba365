//! Static files, and the pages that may open sessions.

use serde::{Deserialize, Serialize};

use super::path::FilePath;
use super::prefix::Prefix;
use super::site::OriginPattern;
use super::value::OneOrMany;

/// Help of `--file-only`, which is the negation of the key.
const FILE_ONLY: &str = "Don't list directories that have no index page";

/// Static files, served on the same port, and the pages that may open sessions.
#[derive(Clone, Debug, PartialEq, Eq, Default, Deserialize, Serialize, clap::Args)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(transform = super::tests::schema::files))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[command(next_help_heading = "Web server")]
pub struct Web {
    /// Serve the files beneath a directory on the same port.
    ///
    /// Nothing outside the directory is served. Symbolic links are followed if they lead inside. An absolute
    /// link is recognized as such by the directory's path, either as configured or with its own links
    /// resolved.
    #[arg(id = "web.root", long = "web", value_name = "DIR")]
    #[cfg_attr(test, schemars(example = &"/usr/share/novnc"))]
    pub root: Option<FilePath>,
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
    /// Serve pages and sessions beneath this path alone, such as `"/desktops/a"`, so that several instances share a host
    /// behind a proxy.
    ///
    /// The proxy passes the path on as it is. Requests for other paths are answered with 404. `token.path` and the paths
    /// in the log begin behind the prefix.
    #[arg(skip)]
    #[cfg_attr(test, schemars(example = &"/desktops/a"))]
    pub prefix: Option<Prefix>,
    /// Origins of further pages that may open sessions, such as `"https://portal.example.com"`.
    ///
    /// Pages that have come from the host that the session asks for may always open it, and so may clients that are
    /// no browsers and name no origin. `"https://*.example.com"` stands for all names below, `"null"` for pages
    /// without an origin, such as local files, and `"*"` for all pages. With `ExpectOrigin` in `[auth]` this key has
    /// no effect. On the command line all pages may, as in the original.
    #[arg(skip)]
    #[serde(default, with = "OneOrMany::<OriginPattern>")]
    #[cfg_attr(test, schemars(example = &"https://portal.example.com"))]
    pub origins: Vec<OriginPattern>,
}
