//! Makes links: tokens that contain their policy, for instances with the plugin `SignedLink`.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::config::carrier::{Carrier, TokenFrom};
use common::config::token::{TokenPlugin, Tokens};
use common::config::{Config, Prefix, Target, duration};
use common::json;
use common::shared_keys::{MAKE_A_KEY, SharedKeys};
use common::tokens::policy::TokenPolicy;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::command_line::LinkPolicy;
use crate::files;
use crate::instances::CtlError;

/// Permissions of all users, as bits of a mode.
const FOR_ALL: u32 = 0o007;

/// noVNC's page.
const PAGE: &str = "vnc.html";

/// Makes a link for an instance. Returns the token, or with `url` the link, and a newline.
///
/// # Errors
///
/// If the instance accepts no links, a value is wrong, or the key can't be read or created.
pub(crate) fn make(
    directory: &Path,
    name: &str,
    policy: LinkPolicy,
    url: Option<&str>,
) -> Result<String, CtlError> {
    let config = files::config(directory, name)?.map_err(CtlError::Config)?;
    let Target::Tokens(Tokens { plugin: TokenPlugin::SignedLink(_), from, .. }) = config.target() else {
        let text = format!("{name} accepts no links: write plugin = \"SignedLink\" into its table [token]");
        return Err(CtlError::Config(text));
    };
    let policy = json(policy, SystemTime::now()).map_err(CtlError::Config)?;
    let keys = keys(&config)?;
    let token = link::seal(&policy, &keys).map_err(|error| CtlError::Config(error.to_string()))?;
    let Some(url) = url else { return Ok(format!("{token}\n")) };
    Ok(format!("{}\n", page(url, &token, from, config.prefix()).map_err(CtlError::Config)?))
}

/// The policy as JSON, or why it is none.
fn json(policy: LinkPolicy, now: SystemTime) -> Result<String, String> {
    let LinkPolicy { target, valid_for, not_before, expires, lifetime, until, idle, uses, .. } = policy;
    let LinkPolicy { reconnect, sessions, sources, origins, user, record, proxy_protocol, .. } = policy;
    let end = valid_for.map(|text| end_of(&text, now)).transpose()?;
    // Short texts, as they become part of a link.
    let one_or_many = |mut list: Vec<String>| match list.len() {
        0 => Value::Null,
        1 => json!(list.remove(0)),
        _ => json!(list),
    };
    let fields = [
        ("target", "target", one_or_many(target)),
        ("not-before", "not-before", time(not_before)),
        ("expires", "expires", end.map_or_else(|| time(expires), Value::from)),
        ("lifetime", "lifetime", json!(lifetime)),
        ("until", "until", time(until)),
        ("idle", "idle", json!(idle)),
        ("uses", "uses", json!(uses)),
        ("reconnect", "reconnect", json!(reconnect)),
        ("sessions", "sessions", json!(sessions)),
        ("sources", "source", one_or_many(sources)),
        ("origins", "origin", one_or_many(origins)),
        ("user", "user", json!(user)),
        ("record", "record", json!(record)),
        ("proxy-protocol", "proxy-protocol", json!(proxy_protocol)),
    ];
    let mut policy = Map::new();
    for (field, option, value) in fields.into_iter().filter(|(_, _, value)| !value.is_null()) {
        policy.insert(field.into(), value);
        let text = Value::Object(policy.clone()).to_string();
        json::object::<TokenPolicy>(text.as_bytes())
            .map_err(|error| format!("--{option}: {}", plain(&error)))?;
    }
    Ok(Value::Object(policy).to_string())
}

/// A point in time: seconds since 1970, or a date and time.
fn time(text: Option<String>) -> Value {
    text.map_or(Value::Null, |text| text.parse::<u64>().map_or_else(|_| json!(text), Value::from))
}

/// The message of an error without its place in the JSON, which nobody has written.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(&*text, |(message, _)| message).replace("\nhelp: ", "; ")
}

/// The time after a duration, in seconds since 1970.
fn end_of(text: &str, now: SystemTime) -> Result<u64, String> {
    let valid_for = duration::parse(text)
        .map_err(|error| format!("--for: {text:?}: {error}; write a number and a unit, such as 10m"))?;
    let end = now.duration_since(UNIX_EPOCH).unwrap_or_default() + valid_for;
    // Rounded up, as a link must not end early.
    Ok((end + Duration::from_nanos(999_999_999)).as_secs())
}

/// Reads the keys of the links of an instance. Its own key is created if there is none.
fn keys(config: &Config) -> Result<SharedKeys, CtlError> {
    let (path, is_own) = config.link_keys().ok_or(CtlError::NoHome)?;
    let failed = |source| CtlError::File { path: path.clone(), source };
    if is_own && !path.exists() {
        create(&path).map_err(failed)?;
    }
    let mode = fs::metadata(&path).map_err(failed)?.permissions().mode();
    let shown = path.display();
    if mode & FOR_ALL != 0 {
        let text =
            format!("{shown} is accessible to all users, who can make links with it; chmod o= {shown}");
        return Err(CtlError::Config(text));
    }
    let content = Zeroizing::new(fs::read(&path).map_err(failed)?);
    SharedKeys::parse(&content).map_err(|error| CtlError::Config(format!("{shown}: {error}; {MAKE_A_KEY}")))
}

/// Creates a file with a new key, for its owner alone. If another process creates it at the same time, that one's counts.
fn create(path: &Path) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    // Nobody sees a file that is not written yet.
    let unfinished = directory.join(format!(".ticket.key.{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    let mut written = || {
        file.write_all(SharedKeys::generate()?.as_bytes())?;
        // The service may have another user, to whom systemd has given the directory.
        let owner = fs::metadata(directory)?;
        let own = file.metadata()?;
        if (owner.uid(), owner.gid()) != (own.uid(), own.gid()) {
            fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
        }
        file.sync_all()?;
        match fs::hard_link(&unfinished, path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    };
    let written = written();
    fs::remove_file(&unfinished)?;
    written
}

/// The link for noVNC. If the token is part of what noVNC asks for, it is behind the `#`, which browsers send to nobody.
fn page(url: &str, token: &str, from: &TokenFrom, prefix: Option<&Prefix>) -> Result<String, String> {
    let wrong =
        || format!("--url: {url:?} is not the address of a page, such as https://vnc.example.com/{PAGE}");
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).ok_or_else(wrong)?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let is_plain =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\"<>\\".contains(&byte));
    if host.is_empty() || !is_plain(rest) {
        return Err(wrong());
    }
    let (directory, page) = path.rsplit_once('/').map_or(("", path), |(directory, page)| (directory, page));
    let page = if page.is_empty() { PAGE } else { page };
    let directory = if directory.is_empty() { String::new() } else { format!("{directory}/") };
    let scheme = if url.starts_with("https") { "https" } else { "http" };
    let page = format!("{scheme}://{host}/{directory}{page}");
    // noVNC's path begins at the root of the host, and in later versions at the page unless it begins with a slash. With
    // the prefix twice it is still beneath the prefix.
    let prefix = prefix.map_or("", Prefix::as_str);
    let beneath = if prefix.is_empty() { directory } else { format!("{prefix}/").split_off(1) };
    Ok(match from.path() {
        _ if from.has(Carrier::Query) => {
            format!("{page}#autoconnect=1&path={beneath}websockify?token={token}")
        }
        Some(path) if prefix.is_empty() => {
            format!("{page}#autoconnect=1&path={}", path.with(token).trim_start_matches('/'))
        }
        Some(path) => format!("{page}#autoconnect=1&path={prefix}{}", path.with(token)),
        None if from.has(Carrier::Cookie) => {
            format!("{page}?token={token}#autoconnect=1&path={beneath}websockify")
        }
        None => {
            let help = "add \"query\", \"path\" or \"cookie\" to `from`";
            return Err(format!(
                "--url: no page of noVNC can send the token where the instance expects it; {help}"
            ));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command_line::link_policy;

    fn policy(options: &[&str]) -> Result<String, String> {
        json(link_policy(options), UNIX_EPOCH + Duration::from_millis(1_000_500))
    }

    #[test]
    fn each_field_of_a_policy_has_an_option() {
        let text = policy(&[
            "--target=h:1",
            "--target=[::1]:5900",
            "--expires=2099-01-01T00:00:00Z",
            "--not-before=2026-01-01T00:00:00+01:00",
            "--lifetime=8h",
            "--until=4102444800",
            "--idle=30m",
            "--uses=1",
            "--reconnect=5m",
            "--sessions=2",
            "--source=10.0.0.0/8",
            "--source=unix",
            "--origin=https://a.example",
            "--user=alice",
            "--record=false",
            "--proxy-protocol=v2",
        ]);
        let text = text.unwrap();
        let policy: TokenPolicy = json::object(text.as_bytes()).unwrap();
        assert_eq!(policy.target.len(), 2);
        let written: Map<String, Value> = json::object(text.as_bytes()).unwrap();
        let mut fields = TokenPolicy::FIELDS.to_vec();
        fields.sort_unstable();
        assert_eq!(written.keys().map(String::as_str).collect::<Vec<_>>(), fields);
    }

    #[test]
    fn a_link_is_short() {
        assert_eq!(policy(&["--target=h:1", "--for=10m"]), Ok(r#"{"expires":1601,"target":"h:1"}"#.into()));
    }

    #[test]
    fn a_wrong_value_is_named_with_its_option() {
        for (option, says) in [
            ("--for=10", "--for: \"10\": no unit"),
            ("--lifetime=1 hour", "--lifetime: \"1 hour\" is not a duration"),
            ("--source=localhost", "--source: \"localhost\" is not a network"),
            ("--origin=a.example", "--origin: "),
            ("--until=tomorrow", "--until: \"tomorrow\" is not a point in time"),
            ("--target=h", "--target: "),
            ("--user=", "--user: "),
        ] {
            let limit = if option.starts_with("--for") { "--uses=1" } else { "--for=10m" };
            let error = policy(&["--target=h:1", limit, option]).unwrap_err();
            assert!(error.contains(says) && !error.contains('\n') && !error.contains(" line "), "{error}");
        }
    }

    #[test]
    fn a_link_for_novnc_hides_the_token_behind_the_hash() {
        for (url, link) in [
            ("https://h", "https://h/vnc.html#autoconnect=1&path=websockify?token=T"),
            ("https://h:1/", "https://h:1/vnc.html#autoconnect=1&path=websockify?token=T"),
            ("http://h/vnc_lite.html", "http://h/vnc_lite.html#autoconnect=1&path=websockify?token=T"),
            ("https://h/a/b/", "https://h/a/b/vnc.html#autoconnect=1&path=a/b/websockify?token=T"),
        ] {
            assert_eq!(page(url, "T", &TokenFrom::default(), None).as_deref(), Ok(link), "{url}");
        }
        for url in
            ["", "h", "ftp://h", "https://", "https:///x", "https://h/?x", "https://h/#x", "https://h/ x"]
        {
            assert!(page(url, "T", &TokenFrom::default(), None).is_err(), "{url}");
        }
        let from = |carriers: Value| -> TokenFrom {
            let from = json!({ "carriers": carriers, "path": "/vnc/{token}" });
            common::json::object(from.to_string().as_bytes()).unwrap()
        };
        let of = |from: &TokenFrom| page("https://h/a/", "T", from, None);
        assert_eq!(of(&from(json!(["path"]))), Ok("https://h/a/vnc.html#autoconnect=1&path=vnc/T".into()));
        assert_eq!(
            of(&TokenFrom::only(Carrier::Cookie)),
            Ok("https://h/a/vnc.html?token=T#autoconnect=1&path=a/websockify".into())
        );
        assert!(of(&TokenFrom::only(Carrier::Bearer)).is_err());
        let beneath = |from: &TokenFrom| {
            let config = "target = \"h:1\"\n[web]\nprefix = \"/a\"\n";
            let config = common::config::file::parse(config, Path::new("/x.toml")).unwrap();
            page("https://h/a/", "T", from, config.prefix()).unwrap()
        };
        assert_eq!(
            beneath(&TokenFrom::default()),
            "https://h/a/vnc.html#autoconnect=1&path=a/websockify?token=T"
        );
        let cookie = "https://h/a/vnc.html?token=T#autoconnect=1&path=a/websockify";
        assert_eq!(beneath(&TokenFrom::only(Carrier::Cookie)), cookie);
        assert_eq!(beneath(&from(json!(["path"]))), "https://h/a/vnc.html#autoconnect=1&path=/a/vnc/T");
    }

    #[test]
    fn a_key_is_created_once_and_for_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/ticket.key");
        create(&path).unwrap();
        let content = fs::read(&path).unwrap();
        create(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), content);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
