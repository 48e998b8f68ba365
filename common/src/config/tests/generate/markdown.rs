//! The lists of keys and of options in `docs/reference/`.

use clap::CommandFactory;

use super::super::super::cli;
use super::{Key, Table, document, headings_of, intro_of, tables};

/// What every generated page says of itself.
const NOTE: &str = "Generated from the declarations in `common/src/config/` by `GENERATE=1 cargo test -p websockify-common generate`.";

const KEYS_HEAD: &str = "\
The configuration file of an instance, `/etc/websockify/NAME.toml` or any file given with `--config`, is TOML. Only \
`target`, `[token]` or `[wrap]` must be there. Unknown keys and wrong values are errors. [A configuration \
file](../guide/configuration.md) is the guide, and [vnc.toml](../examples/vnc.toml) shows all keys.

| kind of value | |
|---|---|
| address | `\"localhost:5900\"`, `\"[::1]:5900\"` or `\"unix:/absolute/path\"` |
| duration | a number with a unit (ms, s, m, h, d), such as `\"250ms\"` or `\"2h\"`; up to a year |
| path | relative paths start at the directory of the file |
| flag | `true` or `false`, which is the default |
";

const OPTIONS_HEAD: &str = "\
```text
{usage}
```

Addresses are split at their last colon; IPv6 addresses may stand in brackets. Long options may be abbreviated as long as \
they are unique, and a value may follow after a blank or after `=`. A port alone listens on all addresses of the machine.
";

/// The paragraphs of a doc comment, each on a line of its own.
fn paragraphs(doc: &str) -> String {
    let one = |paragraph: &str| {
        let text = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
        let end = if text.ends_with(['.', ':']) { "" } else { "." };
        format!("\n{text}{end}\n")
    };
    doc.split("\n\n").map(one).collect()
}

/// The option that says the same as a key, if there is one.
fn option_of(table: &Table, key: &Key) -> Option<String> {
    let path = format!("{}.{}", table.name, key.name).trim_start_matches('.').to_owned();
    let mut definition = cli::Options::command();
    definition.build();
    let mut found = definition.get_arguments();
    let option =
        found.find(|arg| arg.get_id() == path.as_str() || arg.get_id() == path.replace('-', "_").as_str());
    option.and_then(|arg| Some(format!("`--{}`", arg.get_long()?)))
}

/// The version of the sources.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The first release.
const FIRST: &str = "0.1.0";

/// The version that introduced a key or an option, and the rest of its doc comment.
///
/// What is newer than the first release says so: its doc comment ends with a paragraph such as "Since 0.2.0." That paragraph
/// may be missing only from what `page`, as it is committed, already lists, and from everything while `current` is the
/// first release.
fn since<'a>(name: &str, doc: &'a str, page: &str, current: &str) -> (&'a str, &'a str) {
    let declared = doc.rsplit_once("\n\n").and_then(|(text, last)| {
        let version = last.trim().strip_prefix("Since ")?;
        Some((version.trim_end_matches('.'), text))
    });
    declared.unwrap_or_else(|| {
        let is_listed = || page.contains(&format!("\n### `{name}`\n\nSince {FIRST}."));
        assert!(
            current == FIRST || is_listed(),
            "`{name}` is newer than {FIRST}: end its doc comment with the paragraph \"Since {current}.\""
        );
        (FIRST, doc)
    })
}

/// Kind, default, option and example of a key.
fn facts(table: &Table, key: &Key) -> String {
    let toml = |value| format!("`{}`", toml::Value::try_from(value).unwrap());
    let mut facts = vec![format!("Kind: {}", key.kind())];
    if key.is_required {
        facts.push("must be there".into());
    } else if let Some(default) = key.default() {
        facts.push(format!("default: {}", toml(default)));
    }
    facts.extend(option_of(table, key).map(|option| format!("option: {option}")));
    if let Some(example) = key.schema["examples"].get(0) {
        facts.push(format!("example: {}", toml(example)));
    }
    facts.join("; ")
}

#[test]
fn a_key_newer_than_the_first_release_must_say_since_when() {
    let page = "\n### `listen`\n\nSince 0.1.0. Kind: address.\n\nWhere.\n\n### `fresh`\n\nSince 0.2.0. Kind: flag.\n";
    assert_eq!(since("listen", "Where.\n\nMore.", page, "0.2.0"), ("0.1.0", "Where.\n\nMore."));
    assert_eq!(since("fresh", "What.\n\nSince 0.2.0.", page, "0.3.0"), ("0.2.0", "What."));
    assert_eq!(since("first", "What.", "", "0.1.0"), ("0.1.0", "What."));
    for name in ["unlisted", "fresh"] {
        std::panic::catch_unwind(|| since(name, "What.", page, "0.2.0")).unwrap_err();
    }
}

#[test]
fn the_page_of_keys_is_generated() {
    document("reference/keys.md", keys);
}

/// The page of keys; `page` is the one that is committed.
fn keys(page: &str) -> String {
    let mut text = format!("# Keys\n\n{NOTE}\n\n{KEYS_HEAD}");
    for table in tables() {
        if table.name.is_empty() {
            text += "\n## Top of the file\n";
        } else {
            text += &format!("\n## `[{}]`\n{}", table.name, paragraphs(&table.doc));
        }
        for key in &table.keys {
            let dot = if table.name.is_empty() { "" } else { "." };
            let name = format!("{}{dot}{}", table.name, key.name);
            let (since, help) = since(&name, key.help(), page, VERSION);
            text += &format!("\n### `{name}`\n\nSince {since}. {}.\n", facts(&table, key));
            text += &paragraphs(help);
        }
    }
    text
}

#[test]
fn the_page_of_options_is_generated() {
    document("reference/options.md", options);
}

/// The page of options; `page` is the one that is committed.
fn options(page: &str) -> String {
    let mut definition = cli::Options::command();
    definition.build();
    let usage = definition.render_usage().to_string();
    let forms: Vec<_> = usage.trim_start_matches("Usage: ").lines().map(str::trim).collect();
    let mut text = format!("# Options\n\n{NOTE}\n\n{}", OPTIONS_HEAD.replace("{usage}", &forms.join("\n")));
    for heading in headings_of(&definition) {
        text += &format!("\n## {heading}\n");
        text += &intro_of(heading).map(paragraphs).unwrap_or_default();
        for arg in definition.get_arguments().filter(|arg| arg.get_help_heading() == Some(heading)) {
            let short = arg.get_short().map(|short| format!("-{short}, ")).unwrap_or_default();
            let value = match arg.get_value_names() {
                Some([name]) if arg.get_action().takes_values() => format!(" {name}"),
                _ => String::new(),
            };
            let name = format!("{short}--{}{value}", arg.get_long().unwrap());
            let help = arg.get_long_help().or(arg.get_help()).unwrap().to_string();
            let (since, help) = since(&name, &help, page, VERSION);
            text += &format!("\n### `{name}`\n\nSince {since}.\n{}", paragraphs(help));
        }
    }
    text + "\n[Exit statuses, signals and environment](process.md) have a page of their own.\n"
}
