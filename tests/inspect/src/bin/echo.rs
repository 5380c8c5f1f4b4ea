//! Prints its arguments, as echo(1) does. The boot bench waits for its first byte, so it does nothing else.

use std::env;
use std::io::{self, Write};

fn main() -> io::Result<()> {
    let words: Vec<String> = env::args().skip(1).collect();
    io::stdout().write_all(format!("{}\n", words.join(" ")).as_bytes())
}
