//! The token of a request, and the cookie that takes one out of the address bar.

use common::config::carrier::{COOKIE, Carrier, SUBPROTOCOL, TokenFrom};
use hyper::Request;
use hyper::header;
use percent_encoding::percent_decode_str;

use crate::gateway::websocket::handshake;

/// A request has two different tokens, so that nobody can tell which one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it has two different tokens")]
pub(in crate::gateway) struct SeveralTokens;

/// The token in those parts of a request that may contain it.
///
/// # Errors
///
/// If there are two different ones.
pub(in crate::gateway) fn find<B>(
    from: &TokenFrom,
    request: &Request<B>,
) -> Result<Option<String>, SeveralTokens> {
    let mut found: Option<String> = None;
    for token in from.carriers().iter().flat_map(|carrier| carried(*carrier, from, request)) {
        match &found {
            Some(other) if *other != token => return Err(SeveralTokens),
            Some(_) => {}
            None => found = Some(token),
        }
    }
    Ok(found)
}

/// The tokens in one part of a request.
fn carried<B>(carrier: Carrier, from: &TokenFrom, request: &Request<B>) -> Vec<String> {
    let headers = request.headers();
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let lines = |name| headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    match carrier {
        Carrier::Query => in_query(request.uri().query().unwrap_or_default()).into_iter().collect(),
        Carrier::Host => {
            headers.get(header::HOST).and_then(|host| in_host(host.as_bytes())).into_iter().collect()
        }
        Carrier::Path => {
            let token = from.path().and_then(|path| path.token(request.uri().path()));
            token.map(decoded).into_iter().collect()
        }
        Carrier::Cookie => {
            let pairs = lines(header::COOKIE).flat_map(|line| line.split(';'));
            let pairs = pairs.filter_map(|pair| pair.trim().split_once('='));
            let mut values = pairs.filter(|(name, value)| *name == COOKIE && !value.is_empty());
            // The first one is that of the longest path (RFC 6265 section 5.4). Another one may be left from an instance
            // on another port.
            values.next().map(|(_, value)| decoded(value)).into_iter().collect()
        }
        Carrier::Bearer => {
            let credentials = lines(header::AUTHORIZATION).filter_map(|line| line.trim().split_once(' '));
            let tokens = credentials.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
            tokens.map(|(_, token)| token.trim().to_owned()).filter(|token| !token.is_empty()).collect()
        }
        Carrier::Subprotocol => {
            let offered = handshake::tokens(headers, &header::SEC_WEBSOCKET_PROTOCOL);
            let tokens = offered.filter_map(|protocol| protocol.strip_prefix(SUBPROTOCOL));
            tokens.filter(|token| !token.is_empty()).map(str::to_owned).collect()
        }
    }
}

/// Returns the first non-empty value of `token`, decoded like a field of an HTML form and without trailing
/// line feeds, as in the original.
fn in_query(query: &str) -> Option<String> {
    let mut fields = form_urlencoded::parse(query.as_bytes());
    let (_, token) = fields.find(|(name, value)| name == "token" && !value.is_empty())?;
    Some(token.trim_end_matches('\n').to_owned())
}

/// Returns the host without its port. The original cuts at the first colon, even within an IPv6 address.
fn in_host(host: &[u8]) -> Option<String> {
    let host = std::str::from_utf8(host).ok()?.trim();
    let end = if host.starts_with('[') { host.find(']').map(|at| at + 1) } else { host.find(':') };
    Some(host.get(..end.unwrap_or(host.len()))?.to_owned()).filter(|host| !host.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The token of a WebSocket's request, where these parts may contain it.
    fn found(from: &[&str], target: &str, fields: &[(&str, &str)]) -> Result<Option<String>, SeveralTokens> {
        let path = from.contains(&"path").then_some("/vnc/{token}");
        let from = serde_json::json!({ "carriers": from, "path": path });
        let mut request = Request::builder().uri(target);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let from = common::json::object(from.to_string().as_bytes()).unwrap();
        find(&from, &request.body(()).unwrap())
    }

    #[test]
    fn a_token_is_found_where_it_may_stand_and_nowhere_else() {
        let everywhere = ["query", "path", "cookie", "bearer", "subprotocol"];
        type Fields = &'static [(&'static str, &'static str)];
        let cases: [(&str, &str, Fields); 8] = [
            ("query", "/?token=abc", &[]),
            ("path", "/vnc/abc", &[]),
            ("path", "/vnc/%61bc?x", &[]),
            ("cookie", "/", &[("Cookie", "a=b; websockify-token=abc; c=d")]),
            ("cookie", "/", &[("Cookie", "a=b"), ("Cookie", "websockify-token=%61bc;")]),
            ("bearer", "/", &[("Authorization", "Bearer abc")]),
            ("bearer", "/", &[("Authorization", "Basic eA=="), ("Authorization", "bearer  abc ")]),
            ("subprotocol", "/", &[("Sec-WebSocket-Protocol", "binary, token.abc")]),
        ];
        for (carrier, target, fields) in cases {
            let abc = Ok(Some("abc".to_owned()));
            assert_eq!(found(&[carrier], target, fields), abc, "{target} {fields:?}");
            assert_eq!(found(&everywhere, target, fields), abc, "{target} {fields:?}");
            for other in everywhere.into_iter().filter(|other| *other != carrier) {
                assert_eq!(found(&[other], target, fields), Ok(None), "{other} {target} {fields:?}");
            }
        }
        for (target, fields) in [
            ("/vnc/?token=", &[("Cookie", "websockify-token=")][..]),
            ("/vnc/a/b", &[("Cookie", "xwebsockify-token=a"), ("Authorization", "Bearer")]),
            ("/", &[("Sec-WebSocket-Protocol", "token., tokenx"), ("Authorization", "Basic abc")]),
        ] {
            assert_eq!(found(&everywhere, target, fields), Ok(None), "{target} {fields:?}");
        }
    }

    #[test]
    fn two_different_tokens_are_an_error_and_the_same_one_twice_is_not() {
        let of = |target, cookie, protocols| {
            let fields = [("Cookie", cookie), ("Sec-WebSocket-Protocol", protocols)];
            found(&["query", "cookie", "subprotocol"], target, &fields)
        };
        let same = of("/?token=a", "websockify-token=a; websockify-token=b", "binary, token.a");
        assert_eq!(same, Ok(Some("a".to_owned())));
        for (target, cookie, protocols) in [
            ("/?token=a", "websockify-token=b", "binary"),
            ("/?token=a", "websockify-token=b; websockify-token=a", "binary"),
            ("/", "x=y", "token.a, binary, token.b"),
            ("/?token=a", "x=y", "token.A"),
        ] {
            assert_eq!(of(target, cookie, protocols), Err(SeveralTokens), "{target} {cookie} {protocols}");
        }
    }

    #[test]
    fn a_token_in_the_path_is_read_as_in_the_original() {
        for (query, token) in [
            ("token=abc", Some("abc")),
            ("x=1&token=abc&y=2", Some("abc")),
            ("token=a&token=b", Some("a")),
            ("token=&token=b", Some("b")),
            ("token=a+b%20c%26", Some("a b c&")),
            ("token=%C3%BC", Some("ü")),
            ("t%6fken=abc", Some("abc")),
            ("token=abc%0A%0a", Some("abc")),
            ("token=%0A", Some("")),
            ("token=a=b", Some("a=b")),
            ("token=a;x=1", Some("a;x=1")),
            ("token=%ff", Some("\u{fffd}")),
            ("token=", None),
            ("token", None),
            ("Token=abc", None),
            ("", None),
        ] {
            assert_eq!(in_query(query).as_deref(), token, "{query}");
        }
    }

    #[test]
    fn a_host_is_a_token_without_its_port() {
        for (host, token) in [
            ("a.example", Some("a.example")),
            ("a.example:6080", Some("a.example")),
            ("[::1]:6080", Some("[::1]")),
            ("[::1]", Some("[::1]")),
            ("[::1", Some("[::1")),
            (":6080", None),
            ("", None),
        ] {
            assert_eq!(in_host(host.as_bytes()).as_deref(), token, "{host}");
        }
    }
}
