//! Responses to requests for files and directories.

use std::fs::File;

use super::*;

#[test]
fn a_file_is_sent_with_the_headers_that_caches_need() {
    let site = Site::new().with("app/ui.js", "let a;");
    let root = site.root(false);
    let response = get(&root, "/app/ui.js?v=1");
    assert_eq!(status(&response), 200);
    assert_eq!(header(&response, header::CONTENT_TYPE), "text/javascript");
    assert_eq!(header(&response, header::CONTENT_LENGTH), "6");
    assert_eq!(header(&response, header::ACCEPT_RANGES), "bytes");
    assert!(header(&response, header::ETAG).starts_with('"'));
    assert!(header(&response, header::LAST_MODIFIED).ends_with(" GMT"));
    assert_eq!(body(response), "let a;");
}

#[test]
fn head_is_get_without_the_body() {
    let site = Site::new().with("a.txt", "hello").with("sub/b", "");
    for target in ["/a.txt", "/", "/missing", "/sub", "/sub/", "/%zz"] {
        let root = site.root(true);
        let (got, headed) = (get(&root, target), ask(&root, Method::HEAD, target, &[]));
        assert_eq!(got.status(), headed.status(), "{target}");
        assert_eq!(got.headers(), headed.headers(), "{target}");
        assert!(headed.body().is_empty(), "{target}");
    }
    let ranged = ask(&site.root(true), Method::HEAD, "/a.txt", &[("range", "bytes=1-2")]);
    assert_eq!((status(&ranged), header(&ranged, header::CONTENT_LENGTH)), (200, "5"));
}

#[test]
fn other_methods_are_refused() {
    let site = Site::new().with("a.txt", "hello");
    let root = site.root(true);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get"] {
        let response = ask(&root, Method::from_bytes(method.as_bytes()).unwrap(), "/a.txt", &[]);
        assert_eq!((status(&response), header(&response, header::ALLOW)), (405, "GET, HEAD"), "{method}");
    }
}

#[test]
fn a_directory_shows_its_index() {
    let site =
        Site::new().with("index.html", "one").with("sub/index.htm", "two").with("both/index.htm", "no");
    let site = site.with("both/index.html", "yes").with("odd/index.html/x", "").with("odd/index.htm", "odd");
    let root = site.root(true);
    for (target, expected) in [("/", "one"), ("/sub/", "two"), ("/both/", "yes"), ("/odd/", "odd")] {
        let response = get(&root, target);
        assert_eq!(status(&response), 200, "{target}");
        assert_eq!(header(&response, header::CONTENT_TYPE), "text/html");
        assert_eq!(body(response), expected, "{target}");
    }
}

#[test]
fn a_directory_without_its_slash_is_redirected_on_this_server() {
    let site = Site::new().with("sub/deep/x", "").with("evil.example/x", "").with("a b?\u{e4}/x", "");
    let site = site.with("\\evil.example/x", "");
    let root = site.root(true);
    for (target, location) in [
        ("/sub", "/sub/"),
        ("/sub/deep?token=a%20b&c", "/sub/deep/?token=a%20b&c"),
        ("//evil.example", "/evil.example/"),
        ("///evil.example?q", "/evil.example/?q"),
        ("/%5cevil.example", "/%5Cevil.example/"),
        ("/a%20b%3f%C3%A4", "/a%20b%3F%C3%A4/"),
        ("http://other.example/sub", "/sub/"),
    ] {
        let response = get(&root, target);
        assert_eq!((status(&response), header(&response, header::LOCATION)), (301, location), "{target}");
    }
    for target in ["//evil.example/..", "//evil.example/%2e%2e", "///evil.example//../"] {
        let response = get(&root, target);
        assert_eq!((status(&response), header(&response, header::LOCATION)), (200, ""), "{target}");
    }
    for target in ["//evil.example/../..", "/%2fevil.example", "//evil.example/%2f.."] {
        let response = get(&root, target);
        assert_eq!((status(&response), header(&response, header::LOCATION)), (404, ""), "{target}");
    }
}

#[test]
fn a_file_with_a_slash_behind_it_is_not_found() {
    for listing in [false, true] {
        let site = Site::new().with("a.txt", "hello");
        let root = site.root(listing);
        assert_eq!(status(&get(&root, "/a.txt/")), 404);
        assert_eq!(status(&get(&root, "/a.txt/b")), 404);
    }
}

#[test]
fn without_listing_a_directory_is_not_found() {
    let site = Site::new().with("sub/x", "");
    let root = site.root(false);
    assert_eq!((status(&get(&root, "/")), status(&get(&root, "/sub/"))), (404, 404));
}

#[test]
fn novnc_is_found_from_the_root() {
    let site = Site::new().with("vnc.html", "noVNC").with("sub/vnc.html", "");
    let root = site.root(false);
    let response = get(&root, "/?autoconnect=1");
    assert_eq!((status(&response), header(&response, header::LOCATION)), (302, "/vnc.html?autoconnect=1"));
    assert_eq!(status(&get(&root, "/sub/")), 404);
    assert_eq!(status(&get(&site.root(true), "/")), 200);
    assert_eq!(body(get(&site.with("index.html", "index").root(false), "/")), "index");
}

#[test]
fn a_listing_is_sorted_and_escaped() {
    let names =
        ["b.txt", "A.txt", "<script>alert('x')</script>", "a&\"b\"", "javascript:alert(1)", "ä ö", ".dot"];
    let site = names.into_iter().fold(Site::new(), |site, name| {
        // A slash cannot be part of a name.
        site.with(name.replace('/', "\u{2215}"), "")
    });
    let site = site.with("sub/x", "").with("<i>/deep", "");
    nix::unistd::mkfifo(&site.web().join("fifo"), Mode::S_IRUSR).unwrap();
    let root = site.root(true);

    let response = get(&root, "/");
    assert_eq!(status(&response), 200);
    assert_eq!(header(&response, header::CONTENT_TYPE), "text/html; charset=utf-8");
    let page = body(response);
    let links: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("<li>")).collect();
    assert_eq!(
        links,
        [
            "<a href=\".dot\">.dot</a></li>",
            "<a href=\"%3Ci%3E/\">&lt;i&gt;/</a></li>",
            "<a href=\"%3Cscript%3Ealert%28%27x%27%29%3C%E2%88%95script%3E\">\
             &lt;script&gt;alert(&#39;x&#39;)&lt;\u{2215}script&gt;</a></li>",
            "<a href=\"a%26%22b%22\">a&amp;&quot;b&quot;</a></li>",
            "<a href=\"A.txt\">A.txt</a></li>",
            "<a href=\"b.txt\">b.txt</a></li>",
            "<a href=\"javascript%3Aalert%281%29\">javascript:alert(1)</a></li>",
            "<a href=\"sub/\">sub/</a></li>",
            "<a href=\"%C3%A4%20%C3%B6\">ä ö</a></li>",
        ]
    );

    let page = body(get(&root, "/%3Ci%3E/"));
    assert!(page.contains("<h1>Directory listing for /&lt;i&gt;/</h1>"));
    assert!(page.contains("<a href=\"../\">../</a>") && !page.contains("<i>"));
}

#[test]
fn a_listing_is_bounded() {
    let site = Site::new();
    for n in 0..10_001 {
        File::create(site.web().join(n.to_string())).unwrap();
    }
    let page = body(get(&site.root(true), "/"));
    assert_eq!(page.matches("<li>").count(), 10_000);
    assert!(page.contains("There are more"));
}

#[test]
fn parts_of_a_file() {
    let site = Site::new().with("digits", "0123456789");
    let root = site.root(false);
    for (range, expected, content_range, content) in [
        ("bytes=2-4", 206, "bytes 2-4/10", "234"),
        ("bytes=7-", 206, "bytes 7-9/10", "789"),
        ("bytes=-2", 206, "bytes 8-9/10", "89"),
        ("bytes=0-99", 206, "bytes 0-9/10", "0123456789"),
        ("bytes=0-1,3-4", 200, "", "0123456789"),
        ("pages=0-1", 200, "", "0123456789"),
    ] {
        let response = ask(&root, Method::GET, "/digits", &[("range", range)]);
        assert_eq!(status(&response), expected, "{range}");
        assert_eq!(header(&response, header::CONTENT_RANGE), content_range, "{range}");
        assert_eq!(header(&response, header::CONTENT_LENGTH), content.len().to_string(), "{range}");
        assert_eq!(header(&response, header::CONTENT_TYPE), "application/octet-stream", "{range}");
        assert_eq!(body(response), content, "{range}");
    }
    let beyond = ask(&root, Method::GET, "/digits", &[("range", "bytes=10-")]);
    assert_eq!((status(&beyond), header(&beyond, header::CONTENT_RANGE)), (416, "bytes */10"));
}

#[test]
fn a_changed_file_is_sent_again() {
    let site = Site::new().with("a.txt", "one");
    let root = site.root(false);
    let first = get(&root, "/a.txt");
    let etag = header(&first, header::ETAG);
    let again = ask(&root, Method::GET, "/a.txt", &[("if-none-match", etag)]);
    assert_eq!((status(&again), header(&again, header::ETAG)), (304, etag));
    assert!(again.body().is_empty() && !again.headers().contains_key(header::CONTENT_LENGTH));
    let part = [("range", "bytes=1-1"), ("if-range", etag)];
    assert_eq!(status(&ask(&root, Method::GET, "/a.txt", &part)), 206);
    let dated = [("if-modified-since", header(&first, header::LAST_MODIFIED))];
    assert_eq!(status(&ask(&root, Method::GET, "/a.txt", &dated)), 304);

    // The same size, and the modification time set back: only the time of the change differs.
    let old = fs::metadata(site.web().join("a.txt")).unwrap().modified().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(20));
    let site = site.with("a.txt", "two");
    File::options().write(true).open(site.web().join("a.txt")).unwrap().set_modified(old).unwrap();
    assert_eq!(status(&ask(&root, Method::GET, "/a.txt", &[("if-none-match", etag)])), 200);
    assert_eq!(body(ask(&root, Method::GET, "/a.txt", &part)), "two");
    assert_eq!(status(&ask(&root, Method::GET, "/a.txt", &[("if-match", etag)])), 412);
}

#[test]
fn a_file_of_the_far_future_or_past_does_no_harm() {
    let site = Site::new().with("a.txt", "one");
    let root = site.root(false);
    for seconds in [-1, i64::from(i32::MAX) * 4, -62_000_000_000] {
        let times = nix::sys::time::TimeSpec::new(seconds, 0);
        nix::sys::stat::futimens(File::open(site.web().join("a.txt")).unwrap(), &times, &times).unwrap();
        let response = get(&root, "/a.txt");
        assert_eq!((status(&response), header(&response, header::LAST_MODIFIED)), (200, ""), "{seconds}");
    }
}
