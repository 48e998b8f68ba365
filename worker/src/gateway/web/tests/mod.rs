//! Tests of whole requests against a directory on disk.

mod fence;
mod responses;

use std::fs;
use std::path::Path;

use http_body_util::BodyExt;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::*;
use crate::beneath::Lookup;

const CANARY: &str = "the canary sings";

/// A web directory with a canary file beside it.
struct Site {
    dir: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("web")).unwrap();
        fs::write(dir.path().join("canary.txt"), CANARY).unwrap();
        Self { dir }
    }

    fn web(&self) -> std::path::PathBuf {
        self.dir.path().join("web")
    }

    fn with(self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> Self {
        let path = self.web().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    fn root(&self, listing: bool) -> WebRoot {
        self.root_by(Lookup::Kernel, listing)
    }

    fn root_by(&self, lookup: Lookup, listing: bool) -> WebRoot {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let directory = open(&self.web(), flags, Mode::empty()).unwrap();
        let beneath = Beneath::by(lookup, directory).known_as(vec![self.web()]);
        WebRoot::new(beneath, listing, "").unwrap()
    }
}

fn ask(root: &WebRoot, method: Method, target: &str, lines: &[(&str, &str)]) -> Response<Body> {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in lines {
        request = request.header(*name, *value);
    }
    let response = root.respond(&request.body(()).unwrap(), "/…");
    assert_eq!(response.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    assert_eq!(response.headers()[header::CACHE_CONTROL], "no-cache");
    response
}

fn get(root: &WebRoot, target: &str) -> Response<Body> {
    ask(root, Method::GET, target, &[])
}

fn status(response: &Response<Body>) -> u16 {
    response.status().as_u16()
}

fn header(response: &Response<Body>, name: impl header::AsHeaderName) -> &str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

fn body(response: Response<Body>) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let bytes = runtime.block_on(response.into_body().collect()).unwrap().to_bytes();
    String::from_utf8_lossy(&bytes).into_owned()
}
