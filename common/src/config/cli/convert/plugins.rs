//! Options of plugins: targets by token, and authentication.

use std::ffi::OsStr;
use std::path::PathBuf;

use super::given;
use crate::config::auth::{Auth, AuthPlugin};
use crate::config::cli::error::CliError;
use crate::config::cli::options::Options;
use crate::config::token::{TokenFrom, TokenPlugin, TokenRefusal, Tokens};

/// Options that mean something beside others only.
pub(super) fn dependencies(options: &Options) -> Result<(), CliError> {
    const TOKENS: &str = "for example: --token-plugin TokenFile --token-source FILE";
    const AUTH: &str = "for example: --auth-plugin BasicHTTPAuth --auth-source USER:PASSWORD";
    let token_plugin = text(options.token_plugin.as_ref()).is_some();
    let auth_plugin = text(options.auth_plugin.as_ref()).is_some();
    let auth_source = text(options.auth_source.as_ref()).is_some();
    let token_source = given(options.token_source.as_ref()).is_some();
    let web = given(options.web.as_ref()).is_some();
    for (option, is_given, other, is_other_given, help) in [
        ("--token-source", token_source, "--token-plugin", token_plugin, TOKENS),
        ("--host-token", options.host_token, "--token-plugin", token_plugin, TOKENS),
        ("--auth-source", auth_source, "--auth-plugin", auth_plugin, AUTH),
        ("--web-auth", options.web_auth, "--auth-plugin", auth_plugin, AUTH),
        ("--web-auth", options.web_auth, "--web", web, "for example: --web DIR"),
    ] {
        if is_given && !is_other_given {
            return Err(CliError::usage(format!("You must use {other} to use {option}")).help(help));
        }
    }
    Ok(())
}

/// An empty value is none, as in the original.
fn text(value: Option<&String>) -> Option<&str> {
    value.map(String::as_str).filter(|text| !text.is_empty())
}

/// Where a path leads. What has no place has no file either, which is told when it is opened.
fn place(path: &OsStr) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.into())
}

/// What clients must prove.
pub(super) fn auth(options: &Options, notes: &mut Vec<String>) -> Result<Vec<Auth>, CliError> {
    let Some(name) = text(options.auth_plugin.as_ref()) else { return Ok(Vec::new()) };
    let plugin = AuthPlugin::new(name, text(options.auth_source.as_ref()), place)
        .map_err(|error| CliError::usage(&error).help(error.help()))?;
    if matches!(plugin, AuthPlugin::CommonName(_)) && !options.verify_client {
        notes.push("ClientCertCNAuth lets nobody in without --verify-client".to_owned());
    }
    Ok(vec![Auth { plugin, source_file: None }])
}

/// Targets by token, if that was asked for.
pub(super) fn tokens(options: &Options) -> Result<Option<Tokens>, CliError> {
    let (name, source) = match (given(options.target_config.as_ref()), text(options.token_plugin.as_ref())) {
        (Some(path), _) => ("TokenFile", Some(path)),
        (None, Some(name)) => (name, given(options.token_source.as_ref())),
        (None, None) => return Ok(None),
    };
    let plugin =
        TokenPlugin::new(name, source, place).map_err(|error| CliError::usage(&error).help(error.help()))?;
    let from = if options.host_token { TokenFrom::Host } else { TokenFrom::Path };
    Ok(Some(Tokens { plugin, from, refusal: TokenRefusal::default() }))
}
