//! No request leads out of the web directory.

use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use hyper::Uri;
use hyper::http::uri::PathAndQuery;
use proptest::prelude::*;

use super::*;

/// Both kinds of lookup, each without and with listings.
const WAYS: [(Lookup, bool); 4] =
    [(Lookup::Kernel, false), (Lookup::Kernel, true), (Lookup::Walk, false), (Lookup::Walk, true)];

#[test]
fn every_spelling_of_a_way_out_is_refused() {
    let site = Site::new().with("sub/x", "x");
    symlink("../canary.txt", site.web().join("link")).unwrap();
    symlink("..", site.web().join("up")).unwrap();
    symlink("/", site.web().join("slash")).unwrap();
    let canary = site.dir.path().join("canary.txt");
    for (lookup, listing) in WAYS {
        let root = site.root_by(lookup, listing);
        for target in [
            "/..",
            "/../",
            "/../canary.txt",
            "/sub/../../canary.txt",
            "/%2e%2e/canary.txt",
            "/.%2e/canary.txt",
            "/%2E%2E%2Fcanary.txt",
            "/..%2fcanary.txt",
            "/..%2Fcanary.txt",
            "/%252e%252e%252fcanary.txt",
            "/..%5ccanary.txt",
            "/..%255ccanary.txt",
            "/%c0%ae%c0%ae/canary.txt",
            "/%e0%80%ae%e0%80%ae/canary.txt",
            "/%c0%ae%c0%ae%c0%afcanary.txt",
            "/..%c0%afcanary.txt",
            "/%uff0e%uff0e/canary.txt",
            "/..;/canary.txt",
            "/.../canary.txt",
            "/..%00/canary.txt",
            "/%00../canary.txt",
            "/sub/x%00.html",
            "/..%0d%0a/canary.txt",
            "//../canary.txt",
            "/./../canary.txt",
            "/sub//../../canary.txt",
            "//etc/passwd",
            "/etc/passwd",
            "/%2fetc/passwd",
            "/%2fetc%2fpasswd",
            "/file:///etc/passwd",
            "/link",
            "/link/",
            "/up/canary.txt",
            "/up/",
            "/up",
            "/slash/etc/passwd",
            "/slash",
            "/sub/x/../../../x",
            "/canary.txt.",
            "/sub./x",
            "http://x/../canary.txt",
            "http://x/%2e%2e/canary.txt",
            "/.%00./canary.txt",
            "/%",
            "/%2",
            "/%zz",
        ] {
            let response = get(&root, target);
            assert!([400, 404].contains(&status(&response)), "{target}: {} by {lookup:?}", response.status());
            assert!(!body(response).contains(CANARY), "{target} by {lookup:?}");
        }
        let absolute = canary.to_str().unwrap();
        for target in [absolute.to_owned(), format!("/{absolute}"), format!("/%2f{}", &absolute[1..])] {
            assert_eq!(status(&get(&root, &target)), 404, "{target}");
        }
        for length in [256, 5_000, 60_000] {
            assert_eq!(status(&get(&root, &format!("/{}", "x".repeat(length)))), 404);
            assert_eq!(status(&get(&root, &format!("/{}", "x/".repeat(length / 2)))), 404);
        }
        assert_eq!(status(&get(&root, "*")), 400);
    }
}

/// A name that alternates between a directory inside and a link to the outside never leads out.
#[test]
fn a_name_that_is_swapped_meanwhile_never_leads_out() {
    for lookup in [Lookup::Kernel, Lookup::Walk] {
        swap_meanwhile(lookup, false);
        swap_meanwhile(lookup, true);
    }
}

/// Alternates a name while it is requested. With `by_links`, the path to it goes above the directory and
/// returns by an absolute link.
fn swap_meanwhile(lookup: Lookup, by_links: bool) {
    use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
    use std::sync::atomic::{AtomicBool, Ordering};

    let site = Site::new().with("here/canary.txt", "inside");
    symlink("..", site.web().join("there")).unwrap();
    symlink("../web/round", site.web().join("far")).unwrap();
    symlink(site.web(), site.web().join("round")).unwrap();
    let target = if by_links { "/far/here/canary.txt" } else { "/here/canary.txt" };
    let (root, web, done) = (site.root_by(lookup, false), site.web(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let (here, there) = (web.join("here"), web.join("there"));
                renameat2(AT_FDCWD, &here, AT_FDCWD, &there, RenameFlags::RENAME_EXCHANGE).unwrap();
            }
        });
        // Both outcomes must occur, however late the other thread starts.
        let (mut inside, mut outside) = (0, 0);
        let deadline = Instant::now() + Duration::from_secs(20);
        while inside + outside < 5_000 || (inside.min(outside) == 0 && Instant::now() < deadline) {
            let response = get(&root, target);
            match status(&response) {
                200 => inside += 1,
                other => {
                    assert!([404, 503].contains(&other), "{other}");
                    outside += 1;
                }
            }
            assert!(!body(response).contains(CANARY));
        }
        done.store(true, Ordering::Relaxed);
        assert!(inside > 0 && outside > 0, "the swap was never seen by {lookup:?}");
    });
}

fn fenced_site() -> Site {
    let site =
        Site::new().with("index.html", "inside").with("sub/index.html", "inside").with("sub/f", "inside");
    symlink("..", site.web().join("up")).unwrap();
    symlink("../..", site.web().join("sub/up")).unwrap();
    symlink("../canary.txt", site.web().join("out")).unwrap();
    symlink(site.dir.path(), site.web().join("abs")).unwrap();
    symlink(site.web(), site.web().join("back")).unwrap();
    symlink("sub", site.web().join("in")).unwrap();
    site
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_path_reaches_the_outside(
        steps in prop::collection::vec(
            prop::sample::select(vec![
                "", ".", "..", "%2e", "%2e%2e", ".%2E", "%2f", "%5c", "\\", "..%2f", "%2f..", "..\\", "%252e%252e",
                "%c0%ae%c0%ae", "%00", "sub", "in", "up", "out", "abs", "back", "web", "f", "index.html",
                "canary.txt", "etc", "passwd", "proc", "self", "root", "%", ";", "~", "*", "?", "#",
            ]),
            0..9,
        ),
        separator in prop::sample::select(vec!["/", "//", "%2f", "\\", "/./"]),
    ) {
        thread_local!(static SITE: Site = fenced_site());
        let target = format!("/{}", steps.join(separator));
        SITE.with(|site| check(site, &target));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), range in any::<String>()) {
        thread_local!(static SITE: Site = fenced_site());
        let target: Vec<u8> = b"/".iter().chain(&bytes).copied().collect();
        SITE.with(|site| check(site, &String::from_utf8_lossy(&target)));
        for name in ["range", "if-range", "if-none-match", "if-modified-since", "if-match", "if-unmodified-since"] {
            let mut request = Request::builder().uri("/sub/f").body(()).unwrap();
            for value in [bytes.as_slice(), range.as_bytes()] {
                if let Ok(value) = HeaderValue::from_bytes(value) {
                    request.headers_mut().append(header::HeaderName::from_static(name), value);
                }
            }
            SITE.with(|site| site.root(true).respond(&request, "/…"));
        }
    }
}

/// Requests a path, if it is valid in a URI, and checks the response.
fn check(site: &Site, target: &str) {
    let Ok(path) = PathAndQuery::try_from(target) else { return };
    for (lookup, listing) in WAYS {
        let request = Request::builder().uri(Uri::from(path.clone())).body(()).unwrap();
        let response = site.root_by(lookup, listing).respond(&request, "/…");
        let location = header(&response, header::LOCATION);
        assert!(!location.starts_with("//") && !location.starts_with("/\\"), "{target}");
        let is_ok = response.status() == StatusCode::OK;
        let content = body(response);
        assert!(!content.contains(CANARY) && !content.contains("canary.txt</a>"), "{target}");
        assert!(!is_ok || content.contains("inside"), "{target}");
    }
}
