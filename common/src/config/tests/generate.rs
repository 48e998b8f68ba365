//! Generates the documents that follow from the declarations: the schema, the example, and lists in the
//! manual pages and in the reference. They are committed. To update them after a change, run:
//!
//! ```sh
//! GENERATE=1 cargo test -p websockify-common generate
//! ```

mod markdown;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use clap::CommandFactory;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::super::{Config, cli};
use super::keys_of;

/// The keys that the example sets. It shows the others as comments.
const USED_IN_EXAMPLE: [&str; 7] =
    ["listen", "target", "heartbeat", "web.root", "web.listing", "timeouts.idle", "limits.connections"];

const EXAMPLE_HEAD: &str = "\
# Browsers reach the VNC server on port 5901 of this machine, with the pages of noVNC from the same port.
# Installed as /etc/websockify/vnc.toml this is the instance \"vnc\".
#
# Relative paths start at the directory of this file. Durations have units: \"250ms\", \"30s\", \"5m\", \"2h\".
# Commented keys show their defaults, or examples. `websockify --config FILE --check` checks the file, and
# websockify.toml(5) says more of each key.
";

/// Introductions of groups of options in the manual page and in the reference.
const HEADINGS: [(&str, &str); 3] = [
    (
        "Wrapped program",
        "The words behind `--` are a program to start. It binds `source_port` as if nobody else did, and gets another \
         port on loopback; sessions are connected to it there. Clients that come before it listens wait for it. It \
         runs as the user who started `websockify`. See `[wrap]` in `websockify.toml(5)`.",
    ),
    ("TLS", "One port serves clients with and without TLS."),
    ("Log", "Lines go to standard error; under systemd they go to the journal, with fields."),
];

/// Compares a document with the generated one, or writes it.
fn document(name: &str, generate: impl FnOnce(&str) -> String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    let committed = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let generated = generate(&committed);
    if std::env::var_os("GENERATE").is_some() {
        fs::write(path, generated).unwrap();
    } else {
        let help = "run GENERATE=1 cargo test -p websockify-common generate";
        assert!(generated == committed, "docs/{name} is not what the declarations say: {help}");
    }
}

/// Replaces the text of a section in a manual page.
fn section(page: &str, name: &str, text: &str) -> String {
    let (before, rest) = page.split_once(&format!(".SH {name}\n")).unwrap();
    let (_, after) = rest.split_once(".SH ").unwrap();
    format!("{before}.SH {name}\n{text}.SH {after}")
}

#[test]
fn the_schema_is_generated() {
    document("websockify.schema.json", |_| serde_json::to_string_pretty(&schema()).unwrap() + "\n");
}

#[test]
fn the_list_of_keys_is_generated() {
    let mut text = String::new();
    for table in tables() {
        let heading = if table.name.is_empty() { "Top of the file" } else { &format!("[{}]", table.name) };
        text += &format!(".SS {}\n", heading.replace('-', "\\-"));
        if !table.name.is_empty() {
            text += &roff(&table.doc, ".PP");
        }
        for key in &table.keys {
            text += &format!(".TP\n.BI {} \" = {}\"\n", key.name.replace('-', "\\-"), key.kind());
            text += &roff(&key.doc(), ".IP");
        }
    }
    document("man/websockify.toml.5", |page| section(page, "KEYS", &text));
}

#[test]
fn the_list_of_options_is_generated() {
    let mut definition = cli::Options::command();
    definition.build();
    let mut text = String::new();
    for heading in headings_of(&definition) {
        text += &format!(".SS {heading}\n");
        text += &intro_of(heading).map(|intro| roff(intro, ".PP")).unwrap_or_default();
        definition
            .get_arguments()
            .filter(|arg| arg.get_help_heading() == Some(heading))
            .for_each(|arg| text += &option(arg));
    }
    document("man/websockify.1", |page| section(page, "OPTIONS", &text));
}

/// The headings of the options, in their order.
fn headings_of(definition: &clap::Command) -> Vec<&str> {
    let mut headings: Vec<_> = definition.get_arguments().filter_map(|arg| arg.get_help_heading()).collect();
    let mut seen = BTreeSet::new();
    headings.retain(|heading| seen.insert(*heading));
    headings
}

/// What is said of all options below a heading.
fn intro_of(heading: &str) -> Option<&'static str> {
    HEADINGS.iter().find(|(name, _)| *name == heading).map(|(_, intro)| *intro)
}

fn option(arg: &clap::Arg) -> String {
    let long = arg.get_long().unwrap().replace('-', "\\-");
    let tag = match (arg.get_short(), arg.get_value_names()) {
        (Some(short), _) => format!(".BR \\-{short} \", \" \\-\\-{long}"),
        (None, Some([name])) if arg.get_action().takes_values() => format!(".BI \\-\\-{long} \" {name}\""),
        (None, _) => format!(".B \\-\\-{long}"),
    };
    format!(".TP\n{tag}\n{}", roff(&arg.get_long_help().or(arg.get_help()).unwrap().to_string(), ".IP"))
}

#[test]
fn the_example_is_generated() {
    let mut text = EXAMPLE_HEAD.to_owned();
    for table in tables() {
        let path = |key: &Key| format!("{}.{}", table.name, key.name).trim_start_matches('.').to_owned();
        let is_used = |key: &Key| USED_IN_EXAMPLE.contains(&path(key).as_str());
        if !table.name.is_empty() {
            let mark = if table.keys.iter().any(is_used) { "" } else { "#" };
            text += &format!("\n{}{mark}[{}]\n", comment(&table.doc), table.name);
        }
        for key in &table.keys {
            let (mark, doc) = (if is_used(key) { "" } else { "#" }, key.doc());
            let value = key.value().unwrap_or_else(|| panic!("{} needs an example", path(key)));
            let value = toml::Value::try_from(value).unwrap();
            text += &format!(
                "\n{}{mark}{} = {value}\n",
                comment(if is_used(key) { &doc } else { key.help() }),
                key.name
            );
        }
    }
    document("examples/vnc.toml", |_| text);
}

struct Table {
    name: String,
    doc: String,
    keys: Vec<Key>,
}

struct Key {
    name: String,
    schema: Value,
    definitions: Value,
    is_required: bool,
}

impl Key {
    fn help(&self) -> &str {
        self.schema["description"].as_str().unwrap_or_else(|| panic!("{} needs a help", self.name))
    }

    /// The default, if it is worth telling.
    fn default(&self) -> Option<&Value> {
        match &self.schema["default"] {
            Value::Null | Value::Bool(false) => None,
            Value::Object(table) if table.is_empty() => None,
            value => Some(value),
        }
    }

    /// The help text, followed by the default.
    fn doc(&self) -> String {
        let remark = match self.default() {
            _ if self.is_required => " Must be there.".to_owned(),
            None => String::new(),
            Some(value) => format!(" Default: `{value}`."),
        };
        match self.help().split_once("\n\n") {
            Some((first, rest)) => format!("{first}{remark}\n\n{rest}"),
            None => format!("{}{remark}", self.help()),
        }
    }

    /// An example value, or the default.
    fn value(&self) -> Option<&Value> {
        self.schema["examples"].get(0).or(self.schema.get("default"))
    }

    /// The type of the value, in a word that the manual page explains.
    fn kind(&self) -> &str {
        match reference(&self.schema) {
            Some("listener" | "listeners") => "address",
            Some("hosts" | "origins") => "text",
            Some("duration-or-off") => "duration",
            Some(name) if name.ends_with("-flag") => "flag",
            Some(name @ ("path" | "name" | "address" | "duration" | "number" | "list" | "table")) => name,
            Some(name) if self.definitions[name].is_object() => "text",
            Some(name) => panic!("no such definition: {name}"),
            None => match self.schema["type"].as_str() {
                Some("boolean") => "flag",
                Some("integer") => "number",
                Some("object") => "table",
                _ => "text",
            },
        }
    }
}

/// The definition that a schema refers to.
fn reference(schema: &Value) -> Option<&str> {
    let below = schema["allOf"].get(0).unwrap_or(schema);
    below["$ref"].as_str()?.strip_prefix("#/definitions/")
}

/// The table in a schema, possibly as one of several alternatives.
fn table_in<'a>(schema: &'a Value, definitions: &'a Value) -> Option<&'a Value> {
    let schema = reference(schema).map_or(schema, |name| &definitions[name]);
    if schema["properties"].is_object() {
        return Some(schema);
    }
    schema["anyOf"].as_array()?.iter().find_map(|choice| table_in(choice, definitions))
}

/// All tables of the file, in the order of declaration.
fn tables() -> Vec<Table> {
    let schema = schema();
    let definitions = &schema["definitions"];
    let keys = |table: &Value, name: &str| {
        let keys = keys_of(name).unwrap().into_iter().map(|name| Key {
            schema: table["properties"][&name].clone(),
            is_required: table["required"]
                .as_array()
                .is_some_and(|names| names.contains(&name.as_str().into())),
            name,
            definitions: definitions.clone(),
        });
        keys.collect::<Vec<_>>()
    };
    let mut top = Table { name: String::new(), doc: String::new(), keys: keys(&schema, "") };
    let mut below = Vec::new();
    top.keys.retain(|key| {
        let table = table_in(&key.schema, definitions);
        if let Some(table) = table {
            let doc = table["description"].as_str().unwrap().to_owned();
            below.push(Table { name: key.name.clone(), doc, keys: keys(table, &key.name) });
        }
        table.is_none() || key.kind() == "flag"
    });
    below.insert(0, top);
    below
}

/// The schema of the file. An optional key may be absent, but not null.
fn schema() -> Value {
    let schema = SchemaSettings::draft07().into_generator().into_root_schema_for::<Config>();
    let mut schema = serde_json::to_value(schema).unwrap();
    without_null(&mut schema);
    for value in schema["properties"].as_object_mut().unwrap().values_mut() {
        // Defaults of tables are documented at their keys.
        value.as_object_mut().unwrap().retain(|name, value| name != "default" || !value.is_object());
    }
    schema["title"] = "websockify".into();
    schema["description"] =
        "Configuration of one instance of websockify, /etc/websockify/NAME.toml; see websockify.toml(5)."
            .into();
    schema
}

fn without_null(value: &mut Value) {
    if let Value::Array(list) = value {
        list.iter_mut().for_each(without_null);
    }
    let Value::Object(schema) = value else { return };
    schema
        .retain(|name, value| name != "default" || !(value.is_null() || *value == Value::Array(Vec::new())));
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    let null = Value::Object(Map::from_iter([("type".to_owned(), "null".into())]));
    if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
        let count = choices.len();
        choices.retain(|choice| *choice != null);
        if choices.len() < count {
            let choices = schema.remove("anyOf").unwrap_or_default();
            schema.insert("allOf".to_owned(), choices);
        }
    }
    schema.values_mut().for_each(without_null);
}

/// Converts a doc comment to roff: one sentence a line, and code in bold.
fn roff(doc: &str, paragraphs: &str) -> String {
    let mut text = String::new();
    for (number, paragraph) in doc.split("\n\n").enumerate() {
        if number > 0 {
            text += &format!("{paragraphs}\n");
        }
        let paragraph = paragraph.split_whitespace().collect::<Vec<_>>().join(" ").replace('\\', "\\e");
        let end = if paragraph.ends_with(['.', ':']) { "" } else { "." };
        let mut is_code = false;
        let mut line = String::new();
        for char in paragraph.chars() {
            match char {
                '`' => {
                    line += if is_code { "\\fR" } else { "\\fB" };
                    is_code = !is_code;
                }
                '-' if is_code || line.ends_with([' ', '-']) => line += "\\-",
                other => line.push(other),
            }
        }
        for sentence in (line + end).replace(". ", ".\n").lines() {
            text += if sentence.starts_with(['.', '\'']) { "\\&" } else { "" };
            text += sentence;
            text += "\n";
        }
    }
    text
}

/// Converts the first paragraph of a doc comment to TOML comments.
fn comment(doc: &str) -> String {
    let words = doc.split("\n\n").next().unwrap_or_default().split_whitespace();
    let mut lines = vec!["#".to_owned()];
    for word in words {
        match lines.last_mut() {
            Some(line) if line.len() + word.len() < 100 => *line += &format!(" {}", word.replace('`', "")),
            _ => lines.push(format!("# {}", word.replace('`', ""))),
        }
    }
    lines.join("\n") + "\n"
}
