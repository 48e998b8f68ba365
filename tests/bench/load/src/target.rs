//! The server behind the gateway.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

/// Serves until standard input ends, at a port that is printed. `size` is the size of writes.
pub(crate) fn run(kind: &str, size: usize) -> io::Result<()> {
    let serve: fn(TcpStream, usize) -> io::Result<()> = match kind {
        "sink" => sink,
        "source" => source,
        "echo" => echo,
        _ => return Err(io::Error::other("a target is sink, source or echo")),
    };
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            // The thread ends with its connection; errors are ignored.
            thread::spawn(move || connection.set_nodelay(true).and_then(|()| serve(connection, size)));
        }
    });
    io::stdin().read(&mut [0]).map(drop)
}

fn sink(mut connection: TcpStream, _: usize) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    while connection.read(&mut buffer)? > 0 {}
    Ok(())
}

fn source(mut connection: TcpStream, size: usize) -> io::Result<()> {
    let bytes = vec![0; size];
    loop {
        connection.write_all(&bytes)?;
    }
}

fn echo(mut connection: TcpStream, _: usize) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match connection.read(&mut buffer)? {
            0 => return Ok(()),
            read => connection.write_all(&buffer[..read])?,
        }
    }
}
