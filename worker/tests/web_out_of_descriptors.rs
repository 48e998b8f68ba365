//! A shortage of file descriptors. The limit applies to the whole process, so this test has one of its own.

use std::fs::{self, File};

use hyper::{Request, header};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use worker::beneath::Beneath;
use worker::gateway::web::WebRoot;

#[test]
fn a_shortage_of_descriptors_is_temporary() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.txt"), "a").unwrap();
    let directory = File::open(dir.path()).unwrap();
    let root = WebRoot::new(Beneath::new(directory.into()), true, "").unwrap();
    let respond = |target: &str| root.respond(&Request::builder().uri(target).body(()).unwrap(), "/…");

    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 3, hard).unwrap();
    let refused = ["/a.txt", "/"].map(respond);
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();

    for response in refused {
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    }
    assert_eq!(["/a.txt", "/"].map(|target| respond(target).status().as_u16()), [200, 200]);
}
