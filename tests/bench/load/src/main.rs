//! Load generator for benchmarks: a target behind a gateway, and clients in front of it. `tests/bench/run`
//! starts both.
//!
//! ```text
//! websockify-load target sink|source|echo SIZE        prints its port; until standard input ends
//! websockify-load WORK ADDRESS PROTOCOL CONNECTIONS COUNT SIZE [CA]
//! ```
//!
//! `WORK` is `up` or `down` (`COUNT` messages of `SIZE` bytes on each connection), `echo` (`COUNT` round
//! trips), `rate` (`COUNT` consecutive connections, each with one round trip), or `idle` (connections that
//! stay open until standard input ends). `PROTOCOL` is `ws` or `tcp`. With the file of an authority, `CA`,
//! clients use TLS.

#![allow(clippy::print_stdout, reason = "it tells its caller what it did")]

mod client;
mod frames;
mod target;

use std::io::{self, Read};
use std::process::ExitCode;
use std::sync::Barrier;
use std::thread;

use client::{Client, Terms};

const USAGE: &str = "websockify-load target sink|source|echo SIZE
websockify-load up|down|echo|rate|idle ADDRESS ws|tcp CONNECTIONS COUNT SIZE [CA]";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["target", kind, size] => target::run(kind, number(size)),
        [work, address, protocol, connections, count, size, ref authority @ ..] => {
            Terms::new(address, protocol, authority.first().copied())
                .and_then(|terms| run(work, &terms, number(connections), number(count), number(size)))
        }
        _ => Err(io::Error::other(USAGE)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn number(word: &str) -> usize {
    word.parse().unwrap_or_else(|_| panic!("{word:?} is no number\n{USAGE}"))
}

/// Does the work on all connections concurrently, and returns when all are done.
fn run(work: &str, terms: &Terms, connections: usize, count: usize, size: usize) -> io::Result<()> {
    if work == "idle" {
        let open: Vec<_> = (0..connections).map(|_| Client::open(terms)).collect::<io::Result<_>>()?;
        println!("{} open", open.len());
        return io::stdin().read(&mut [0]).map(drop);
    }
    let start = Barrier::new(connections);
    thread::scope(|scope| {
        let workers: Vec<_> =
            (0..connections).map(|_| scope.spawn(|| one(work, terms, count, size, &start))).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("a worker does not panic"))
    })
}

fn one(work: &str, terms: &Terms, count: usize, size: usize, start: &Barrier) -> io::Result<()> {
    if work == "rate" {
        start.wait();
        return (0..count).try_for_each(|_| {
            let mut client = Client::open(terms)?;
            client.echo(&client.message(size), size)?;
            client.close()
        });
    }
    let opened = Client::open(terms);
    start.wait();
    let mut client = opened?;
    match work {
        "up" => client.send_many(count, size).and_then(|()| client.close()),
        "down" => client.receive(count * size),
        "echo" => {
            let message = client.message(size);
            (0..count).try_for_each(|_| client.echo(&message, size)).and_then(|()| client.close())
        }
        _ => Err(io::Error::other(USAGE)),
    }
}
