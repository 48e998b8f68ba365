//! Extracts the imports between the files of a crate from its sources: `use`, and paths that begin with a
//! module. Code that is compiled for tests only is ignored.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Maximum number of re-exports that are followed.
const MAX_STEPS: usize = 8;

/// The path of a module from the root of its crate.
type Module = Vec<String>;

/// A name that a module imports from another.
struct Use {
    path: Vec<String>,
    name: String,
}

/// A source file.
struct Source {
    /// Path below the source directory.
    file: String,
    uses: Vec<Use>,
    paths: Vec<Vec<String>>,
    /// Modules that are compiled for tests only.
    of_tests: Vec<String>,
}

/// The sources of a crate.
pub(crate) struct Sources {
    modules: BTreeMap<Module, Source>,
    /// Name of the crate, under which its program refers to its library.
    name: String,
}

impl Sources {
    /// Reads the files in a directory of sources.
    pub(crate) fn read(directory: &Path) -> Self {
        let mut files = Vec::new();
        collect(directory, directory, &mut files);
        let name = directory.parent().unwrap().file_name().unwrap().to_str().unwrap();
        Self::new(
            name,
            files.iter().map(|file| (file.as_str(), fs::read_to_string(directory.join(file)).unwrap())),
        )
    }

    /// Creates the sources from files, given by their path below the source directory and their text.
    pub(crate) fn new<'a>(name: &str, files: impl IntoIterator<Item = (&'a str, String)>) -> Self {
        let files: Vec<_> = files.into_iter().collect();
        let has_library = files.iter().any(|(file, _)| *file == "lib.rs");
        let source = |(file, text): (&str, String)| (module(file, has_library), Source::new(file, &text));
        let mut sources = Self { modules: files.into_iter().map(source).collect(), name: name.into() };
        let of_tests: Vec<Module> = sources
            .modules
            .iter()
            .flat_map(|(module, source)| source.of_tests.iter().map(|name| child(module, name)))
            .collect();
        sources.modules.retain(|module, _| !of_tests.iter().any(|of_tests| module.starts_with(of_tests)));
        sources
    }

    pub(crate) fn files(&self) -> BTreeSet<&str> {
        self.modules.values().map(|source| source.file.as_str()).collect()
    }

    /// Each file, with the other files that it imports from.
    pub(crate) fn imports(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let imports = self.modules.iter().map(|(module, source)| {
            let paths = source.uses.iter().map(|one| &one.path).chain(&source.paths);
            let imported = paths.flat_map(|path| self.resolve(module, path, MAX_STEPS));
            (source.file.as_str(), imported.filter(|file| *file != source.file).collect())
        });
        imports.collect()
    }

    /// The files that a path in a module refers to: that of the item, and those that re-export it.
    fn resolve(&self, from: &Module, path: &[String], steps: usize) -> Vec<&str> {
        let Some((first, rest)) = path.split_first() else { return Vec::new() };
        let parent = || from.split_last().map(|(_, parent)| parent.to_vec());
        match first.as_str() {
            "crate" => self.descend(Module::new(), rest, steps),
            "self" => self.descend(from.clone(), rest, steps),
            "super" => parent().map_or_else(Vec::new, |parent| match rest.first().map(String::as_str) {
                Some("super") => self.resolve(&parent, rest, steps),
                _ => self.descend(parent, rest, steps),
            }),
            _ if self.modules.contains_key(&child(from, first)) => self.descend(from.clone(), path, steps),
            name if name == self.name => self.descend(Module::new(), rest, steps),
            _ => self.through_uses(from, path, steps),
        }
    }

    /// Descends from a module as long as the path names modules.
    fn descend(&self, mut module: Module, mut path: &[String], steps: usize) -> Vec<&str> {
        while let Some((first, rest)) = path.split_first() {
            let below = child(&module, first);
            if !self.modules.contains_key(&below) {
                break;
            }
            (module, path) = (below, rest);
        }
        let mut files: Vec<_> =
            self.modules.get(&module).map(|source| source.file.as_str()).into_iter().collect();
        files.extend(self.through_uses(&module, path, steps));
        files
    }

    /// Follows a name that the module itself has imported.
    fn through_uses(&self, module: &Module, path: &[String], steps: usize) -> Vec<&str> {
        let (Some(source), Some((first, rest))) = (self.modules.get(module), path.split_first()) else {
            return Vec::new();
        };
        // A name from an external crate of the same name is not followed.
        let named = source.uses.iter().filter(|one| one.name == *first && one.path.first() != Some(first));
        let whole = named.map(|one| [one.path.as_slice(), rest].concat());
        match steps.checked_sub(1) {
            Some(steps) => whole.flat_map(|path| self.resolve(module, &path, steps)).collect(),
            None => Vec::new(),
        }
    }
}

/// Collects the Rust files below a directory, with paths relative to `root`.
fn collect(root: &Path, directory: &Path, files: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.extension() {
            _ if path.is_dir() => collect(root, &path, files),
            Some(extension) if extension == "rs" => {
                files.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
            _ => {}
        }
    }
}

/// The module of a file. A `main.rs` beside a library is above the library.
fn module(file: &str, has_library: bool) -> Module {
    let mut module: Module = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    let last = module.last().unwrap().as_str();
    let is_root = module.len() == 1 && (last == "lib" || (last == "main" && !has_library));
    if is_root || last == "mod" {
        module.pop();
    }
    module
}

fn child(module: &Module, name: &str) -> Module {
    module.iter().map(String::as_str).chain([name]).map(str::to_owned).collect()
}

impl Source {
    fn new(file: &str, text: &str) -> Self {
        let mut source =
            Self { file: file.into(), uses: Vec::new(), paths: Vec::new(), of_tests: Vec::new() };
        let tokens = tokens(text);
        let mut at = 0;
        while at < tokens.len() {
            let is = |offset: usize, token: &str| tokens.get(at + offset).is_some_and(|one| one == token);
            if ["#", "[", "cfg", "(", "test", ")", "]"]
                .iter()
                .enumerate()
                .all(|(offset, token)| is(offset, token))
            {
                at = source.skip_item(&tokens, at + 7);
            } else if ["#", "[", "cfg_attr", "(", "test", ","]
                .iter()
                .enumerate()
                .all(|(offset, token)| is(offset, token))
            {
                // Derived for tests only.
                at += attribute_length(&tokens[at..]);
            } else if is(0, "mod") && is(2, "{") {
                panic!("{file}: modules are files here, but for those of tests");
            } else if is(0, "pub") && is(1, "(") && is(2, "in") {
                // A visibility is not an import.
                at += tokens[at..].iter().position(|token| token == ")").unwrap();
            } else if is(0, "use") && !is(1, "<") {
                at = source.read_use(&tokens, at + 1, &[]);
            } else if is_name(&tokens[at])
                && is(1, "::")
                && !(at > 0 && ["::", "."].contains(&&*tokens[at - 1]))
            {
                let mut path = vec![tokens[at].clone()];
                while tokens[at + 1] == "::" && is_name(&tokens[at + 2]) {
                    path.push(tokens[at + 2].clone());
                    at += 2;
                }
                source.paths.push(path);
                at += 1;
            } else {
                at += 1;
            }
        }
        source
    }

    /// Skips the item that begins at `at`, whose attribute has been read. Returns the position after it.
    fn skip_item(&mut self, tokens: &[String], mut at: usize) -> usize {
        let has_value = ["use", "const", "static", "type", "let"];
        let begins = (at..).find(|at| {
            [&has_value[..], &["fn", "mod", "impl", "struct", "enum", "{"]].concat().contains(&&*tokens[*at])
        });
        let begins = begins.unwrap();
        if tokens[begins] == "mod" {
            self.of_tests.push(tokens[begins + 1].clone());
        }
        let ends_with_brace = !has_value.contains(&&*tokens[begins]);
        let mut depth = 0;
        loop {
            match tokens[at].as_str() {
                "{" | "(" | "[" => depth += 1,
                ")" | "]" => depth -= 1,
                "}" => {
                    depth -= 1;
                    if depth == 0 && ends_with_brace {
                        return at + 1;
                    }
                }
                ";" if depth == 0 => return at + 1,
                _ => {}
            }
            at += 1;
        }
    }

    /// Parses a tree of a `use`. Returns the position after it.
    fn read_use(&mut self, tokens: &[String], mut at: usize, prefix: &[String]) -> usize {
        let mut path = prefix.to_vec();
        loop {
            match tokens[at].as_str() {
                "::" => {}
                "{" => {
                    while tokens[at] != "}" {
                        at += 1;
                        if tokens[at] != "}" {
                            at = self.read_use(tokens, at, &path);
                        }
                    }
                    return at + 1;
                }
                "as" => {
                    let name = tokens[at + 1].clone();
                    self.uses.push(Use { path, name });
                    return at + 2;
                }
                "*" => {
                    self.uses.push(Use { path, name: "*".into() });
                    return at + 1;
                }
                // `a::{self}` is `a`.
                "self" if !path.is_empty() => {}
                name if is_name(name) => path.push(name.to_owned()),
                // A comma, a closing brace, a semicolon.
                _ => {
                    let name = path.last().cloned().unwrap_or_default();
                    self.uses.push(Use { path, name });
                    return at;
                }
            }
            at += 1;
        }
    }
}

fn is_name(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Splits a text into words and signs, without comments and quoted text.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").unwrap() + 2,
            '"' => quoted(rest),
            '\'' => {
                let character = rest[1..].chars().next().unwrap();
                match character {
                    '\\' => 2 + rest[2..].chars().next().unwrap().len_utf8() + rest[3..].find('\'').unwrap(),
                    _ if rest[1 + character.len_utf8()..].starts_with('\'') => 2 + character.len_utf8(),
                    // A lifetime or a label.
                    _ => 1 + word(&rest[1..]),
                }
            }
            _ if word(rest) > 0 => {
                let length = word(rest);
                let (name, behind) = rest.split_at(length);
                let hashes = behind.len() - behind.trim_start_matches('#').len();
                if ["r", "br"].contains(&name) && behind[hashes..].starts_with('"') {
                    let end = format!("\"{}", "#".repeat(hashes));
                    let begin = length + hashes + 1;
                    begin + rest[begin..].find(&end).unwrap() + end.len()
                } else {
                    tokens.push(name.to_owned());
                    length
                }
            }
            ':' if rest.starts_with("::") => {
                tokens.push("::".into());
                2
            }
            _ => {
                if !first.is_whitespace() {
                    tokens.push(first.into());
                }
                first.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    tokens
}

/// Length of the word at the beginning.
fn word(text: &str) -> usize {
    text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())
}

/// Length of the string at the beginning, including its quotes.
fn quoted(text: &str) -> usize {
    let mut is_escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        ends
    });
    end.unwrap() + 2
}

/// Number of tokens of the attribute at the beginning.
fn attribute_length(tokens: &[String]) -> usize {
    let mut depth = 0;
    for (place, token) in tokens.iter().enumerate() {
        match token.as_str() {
            "[" => depth += 1,
            "]" if depth == 1 => return place + 1,
            "]" => depth -= 1,
            _ => {}
        }
    }
    panic!("an attribute has no end")
}
