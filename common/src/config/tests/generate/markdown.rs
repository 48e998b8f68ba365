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
fn the_page_of_keys_is_generated() {
    let mut text = format!("# Keys\n\n{NOTE}\n\n{KEYS_HEAD}");
    for table in tables() {
        if table.name.is_empty() {
            text += "\n## Top of the file\n";
        } else {
            text += &format!("\n## `[{}]`\n{}", table.name, paragraphs(&table.doc));
        }
        for key in &table.keys {
            let dot = if table.name.is_empty() { "" } else { "." };
            text += &format!("\n### `{}{dot}{}`\n\n{}.\n", table.name, key.name, facts(&table, key));
            text += &paragraphs(key.help());
        }
    }
    document("reference/keys.md", |_| text);
}

#[test]
fn the_page_of_options_is_generated() {
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
            text += &format!("\n### `{short}--{}{value}`\n", arg.get_long().unwrap());
            text += &paragraphs(&arg.get_long_help().or(arg.get_help()).unwrap().to_string());
        }
    }
    text += "\n[Exit statuses, signals and environment](process.md) have a page of their own.\n";
    document("reference/options.md", |_| text);
}
