//! The documents stay short, and their links lead somewhere.

#![allow(clippy::unwrap_used, reason = "a test stops at what it does not expect")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The most lines of README.md, and of a page of the guide.
const README_LINES: usize = 150;
const GUIDE_LINES: usize = 200;

/// The most bytes of a picture.
const PICTURE_BYTES: u64 = 150_000;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The files in a directory of the documents.
fn files(directory: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(directory)).unwrap();
    entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect()
}

/// Every document in Markdown.
fn documents() -> Vec<PathBuf> {
    let directories = ["", "docs", "docs/guide", "docs/reference", "docs/development"];
    let all = directories.into_iter().flat_map(files);
    all.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

/// The text without blocks of code.
fn prose(text: &str) -> String {
    let mut is_code = false;
    let lines = text.lines().filter(|line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The text without code in backticks.
fn without_code(text: &str) -> String {
    text.split('`').step_by(2).collect::<Vec<_>>().join(" ")
}

/// The anchors of headings, as code hosts make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let prose = prose(text);
    let headings = prose.lines().filter_map(|line| line.strip_prefix('#'));
    let anchor = |heading: &str| {
        let text = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = text.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

/// Where the links of a text lead, but for those to other places.
fn links(text: &str) -> Vec<String> {
    let text = without_code(&prose(text));
    // Links of Markdown, and pictures of HTML for light and dark.
    let forms = [("](", ')'), (" src=\"", '"'), (" srcset=\"", '"')];
    let targets = forms.iter().flat_map(|(begin, end)| {
        text.split(begin).skip(1).filter_map(|rest| rest.split_once(*end)).map(|(link, _)| link.to_owned())
    });
    targets.filter(|link| !link.contains("://")).collect()
}

/// Whether a link of a document leads to a file and, if it names one, to a heading.
fn leads_somewhere(document: &Path, link: &str) -> bool {
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = if path.is_empty() { document.to_owned() } else { document.parent().unwrap().join(path) };
    if anchor.is_empty() {
        return target.exists();
    }
    fs::read_to_string(target).is_ok_and(|text| anchors(&text).contains(anchor))
}

#[test]
fn no_link_is_broken() {
    let mut count = 0;
    let mut broken = Vec::new();
    for document in documents() {
        for link in links(&fs::read_to_string(&document).unwrap()) {
            count += 1;
            if !leads_somewhere(&document, &link) {
                broken.push(format!("{}: {link}", document.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(count > 150, "only {count} links were found");
}

#[test]
fn a_broken_link_is_noticed() {
    let readme = root().join("README.md");
    assert!(leads_somewhere(&readme, "docs/guide/tls.md#lets-encrypt"));
    for link in ["docs/guide/nothing.md", "docs/guide/tls.md#nothing", "#nothing"] {
        assert!(!leads_somewhere(&readme, link), "{link}");
    }
    assert_eq!(links("[a](b.md) `[c](d)` [e](https://f)\n```\n[g](h)\n```\n"), ["b.md"]);
    assert_eq!(links("<source srcset=\"a\"> <img src=\"b\">"), ["b", "a"]);
}

#[test]
fn documents_stay_short() {
    let lines = |path: &Path| fs::read_to_string(path).unwrap().lines().count();
    let readme = lines(&root().join("README.md"));
    assert!(readme <= README_LINES, "README.md has {readme} lines, more than {README_LINES}");
    for page in files("docs/guide") {
        let count = lines(&page);
        assert!(count <= GUIDE_LINES, "{} has {count} lines, more than {GUIDE_LINES}", page.display());
    }
    for picture in files("docs/images") {
        let bytes = picture.metadata().unwrap().len();
        assert!(bytes <= PICTURE_BYTES, "{} has {bytes} bytes", picture.display());
    }
}

#[test]
fn the_index_has_every_page() {
    let index = root().join("docs/README.md");
    let listed: BTreeSet<_> = links(&fs::read_to_string(&index).unwrap()).into_iter().collect();
    for directory in ["guide", "reference", "development"] {
        for page in files(&format!("docs/{directory}")) {
            let name = format!("{directory}/{}", page.file_name().unwrap().to_string_lossy());
            assert!(listed.contains(&name), "docs/README.md does not list {name}");
        }
    }
}

#[test]
fn the_examples_of_additions_are_there() {
    let text = fs::read_to_string(root().join("docs/development/adding.md")).unwrap();
    let prose = prose(&text);
    let named = prose.split('`').skip(1).step_by(2);
    let paths: Vec<_> = named.filter(|name| name.contains('/') && !name.contains(' ')).collect();
    assert!(paths.len() > 30, "{paths:?}");
    let absent: Vec<_> = paths.into_iter().filter(|path| !root().join(path).exists()).collect();
    assert!(absent.is_empty(), "{absent:?}");
}
