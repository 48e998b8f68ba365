//! Instances of other machines: the same command there, over ssh(1), as `systemctl --host` does.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command as Process, Stdio};
use std::thread;

use common::control::{Revoked, Session, Status};
use common::json;
use common::log::Escaped;
use serde::Deserialize;
use serde_json::Value;

use crate::command_line::{Command, Which};
use crate::instances::{CtlError, KnownInstance};
use crate::output::{print, safe};
use crate::{secret, show};

/// Maximum length of an answer in bytes.
const MAX_ANSWER_BYTES: u64 = 64 << 20;

/// Maximum length of error messages in bytes.
const MAX_ERROR_BYTES: u64 = 64 << 10;

/// Time limit for a connection, in seconds. ssh(1) itself may wait for minutes.
const CONNECT_SECONDS: u32 = 10;

/// The answers of all machines, with their names as they were given.
type Answers = Vec<(String, Result<Vec<u8>, String>)>;

/// An entry of `list --json`.
#[derive(Debug, Deserialize)]
struct Listed {
    name: String,
    file: Option<PathBuf>,
    status: Option<Status>,
}

/// Carries out a command on several machines at the same time. Returns whether all have succeeded.
///
/// # Errors
///
/// Fails if the command is not one for several machines, or if the answers can't be shown.
pub(crate) fn run(hosts: &[String], command: Command) -> Result<bool, CtlError> {
    match command {
        Command::List { json } => {
            let answers = ask(hosts, &["list", "--json"], None);
            show(answers, json, |all| {
                let instance = |Listed { name, file, status }: Listed| KnownInstance { name, file, status };
                show::lists(&all.map(|(host, listed)| (host, instance(listed))).collect::<Vec<_>>())
            })
        }
        Command::Sessions { name, watch: false, json } => {
            let answers = ask(hosts, &["sessions", &name, "--json"], None);
            show(answers, json, |all| show::sessions_of_hosts(&all.collect::<Vec<(String, Session)>>()))
        }
        Command::Revoke { which: Which { session: Some(_), .. }, .. } if hosts.len() > 1 => {
            Err(CtlError::Config("a session belongs to one machine: name that one only".into()))
        }
        Command::Revoke { name, which, json } => {
            let (mut words, secret) = revocation(which)?;
            words.splice(0..0, ["revoke".to_owned(), name, "--json".to_owned()]);
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            let answers = ask(hosts, &words, secret.as_deref());
            show(answers, json, |all| {
                let lines = all.map(|(host, revoked): (String, Revoked)| {
                    format!("{}: {}", Escaped(&host), show::revocation(revoked))
                });
                lines.collect()
            })
        }
        Command::Drain { name, wait, timeout, spread } => {
            let seconds = |option: &str, value: Option<u32>| value.map(|value| format!("{option}={value}s"));
            let options = [
                wait.then(|| "--wait".to_owned()),
                seconds("--timeout", timeout),
                seconds("--spread", spread),
            ];
            let words: Vec<_> =
                ["drain".to_owned(), name].into_iter().chain(options.into_iter().flatten()).collect();
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            show_text(ask(hosts, &words, None))
        }
        _ => Err(CtlError::Config(
            "--host is for list, sessions without --watch, revoke and drain; use ssh for other commands"
                .into(),
        )),
    }
}

/// The options of `revoke`, and what the command reads from its standard input: a token must not stand in arguments.
fn revocation(which: Which) -> Result<(Vec<String>, Option<String>), CtlError> {
    let Which { session, user, token_file, .. } = which;
    Ok(match (session, user, token_file) {
        (Some(session), _, _) => (vec![format!("--session={session}")], None),
        (_, Some(user), _) => (vec![format!("--user={user}")], None),
        (_, _, Some(path)) => {
            (vec!["--token-file=-".into()], Some(secret::read(&path).map_err(CtlError::Config)?))
        }
        (None, None, None) => (vec!["--all".into()], None),
    })
}

/// Runs `websockifyctl WORDS` on all machines at the same time.
fn ask(hosts: &[String], words: &[&str], input: Option<&str>) -> Answers {
    let line = std::iter::once("websockifyctl").chain(words.iter().copied()).map(quoted);
    let line = line.collect::<Vec<_>>().join(" ");
    let started: Vec<_> = hosts.iter().map(|host| (host.clone(), start(host, &line))).collect();
    let line_of_input = input.map(|text| format!("{text}\n"));
    let reading = started.into_iter().map(|(host, child)| {
        let input = line_of_input.clone().unwrap_or_default();
        (host, thread::spawn(move || child.and_then(|child| finish(child, &input))))
    });
    let reading: Vec<_> = reading.collect();
    let answer = |thread: thread::JoinHandle<io::Result<Result<Vec<u8>, String>>>| match thread.join() {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => Err(format!("ssh: {error}")),
        Err(_) => Err("ssh: its output could not be read".into()),
    };
    reading.into_iter().map(|(host, thread)| (host, answer(thread))).collect()
}

fn start(host: &str, line: &str) -> io::Result<Child> {
    Process::new("ssh")
        .args(["-x", "-T", "-o", &format!("ConnectTimeout={CONNECT_SECONDS}"), "--", host, line])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

/// Passes the input to a command, and returns its output, or its error message.
fn finish(mut child: Child, input: &str) -> io::Result<Result<Vec<u8>, String>> {
    if let Some(mut stdin) = child.stdin.take() {
        // A command that needs no input may have ended.
        let _ = stdin.write_all(input.as_bytes());
    }
    let errors = child.stderr.take().map(|stderr| thread::spawn(move || read(stderr, MAX_ERROR_BYTES)));
    let output =
        child.stdout.take().map_or_else(|| Ok(Vec::new()), |stdout| read(stdout, MAX_ANSWER_BYTES))?;
    let status = child.wait()?;
    if status.success() {
        return Ok(Ok(output));
    }
    let said = errors.and_then(|errors| errors.join().ok()?.ok()).unwrap_or_default();
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    Ok(Err(if said.is_empty() { status.to_string() } else { said }))
}

fn read(mut from: impl Read, most: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    from.by_ref().take(most).read_to_end(&mut content)?;
    // The rest is read as well, so that the command can end.
    io::copy(&mut from, &mut io::sink())?;
    Ok(content)
}

/// Shows the answers, JSON objects or arrays of them: merged as JSON, or formatted by `format`.
fn show<T: for<'de> Deserialize<'de>>(
    answers: Answers,
    as_json: bool,
    format: impl FnOnce(&mut dyn Iterator<Item = (String, T)>) -> String,
) -> Result<bool, CtlError> {
    let (mut objects, mut all_well) = (Vec::new(), true);
    for (host, answer) in answers {
        match answer.and_then(|text| objects_of(&text)) {
            Ok(found) => objects.extend(found.into_iter().map(|object| (host.clone(), object))),
            Err(reason) => all_well = complain(&host, &reason),
        }
    }
    if as_json {
        let with_host = objects.into_iter().map(|(host, mut object)| {
            object["host"] = host.into();
            object
        });
        print(&show::pretty(&with_host.collect::<Vec<_>>())?)?;
        return Ok(all_well);
    }
    let mut parsed = Vec::new();
    for (host, object) in objects {
        match json::object(object.to_string().as_bytes()) {
            Ok(value) => parsed.push((host, value)),
            Err(error) => all_well = complain(&host, &format!("its answer can't be parsed: {error}")),
        }
    }
    print(&format(&mut parsed.into_iter()))?;
    Ok(all_well)
}

/// Shows answers that are text.
fn show_text(answers: Answers) -> Result<bool, CtlError> {
    let mut all_well = true;
    for (host, answer) in answers {
        match answer {
            Ok(text) => {
                print(&format!("{}: {}\n", Escaped(&host), safe(String::from_utf8_lossy(&text).trim())))?
            }
            Err(reason) => all_well = complain(&host, &reason),
        }
    }
    Ok(all_well)
}

/// Reports the failure of a machine. Returns false.
fn complain(host: &str, reason: &str) -> bool {
    let _ = writeln!(io::stderr(), "websockifyctl: {}: {}", Escaped(host), safe(reason));
    false
}

/// The objects in an answer.
fn objects_of(text: &[u8]) -> Result<Vec<Value>, String> {
    let text = String::from_utf8_lossy(text);
    match text.parse::<Value>() {
        Ok(Value::Array(all)) if all.iter().all(Value::is_object) => Ok(all),
        Ok(object @ Value::Object(_)) => Ok(vec![object]),
        _ => Err("its answer is not JSON".into()),
    }
}

/// Quotes a word for the shell on the other machine.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_reach_the_other_shell_unchanged() {
        for word in ["", "a b", "$(id)", "it's", "`x`", "a;b", "*", "\"", "\\", "ü"] {
            let line = format!("printf %s {}", quoted(word));
            let said = Process::new("sh").args(["-c", &line]).output().unwrap().stdout;
            assert_eq!(String::from_utf8(said).unwrap(), word);
        }
        assert_eq!(quoted("--session=7"), "--session=7");
    }
}
