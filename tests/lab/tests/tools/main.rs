//! The simulator's archive tools: `vma`, `zstd`, `lzop`.

#![allow(clippy::expect_used)] // what helps a test may fail like one

mod compress;
mod streams;
mod vma;
mod vzdump;

use std::fs;
use std::io::Cursor;
use std::path::Path;

use restore_lab::sim::tool::Tool;
use sha2::{Digest, Sha256};

/// How a tool ended and what it said.
#[derive(Debug)]
struct Ran {
    status: i32,
    stdout: Vec<u8>,
    stderr: String,
}

impl Ran {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("text on standard output")
    }
}

type Main = fn(&[String], &mut Tool<'_>) -> i32;

/// Runs a tool as a node would whose files lie under `root`.
fn run(main: Main, root: &Path, args: &[&str], stdin: &[u8]) -> Ran {
    let args: Vec<String> = args.iter().map(ToString::to_string).collect();
    let map = |path: &str| root.join(path.trim_start_matches('/'));
    let (mut stdin, mut stdout, mut stderr) = (Cursor::new(stdin), Vec::new(), Vec::new());
    let mut tool = Tool { stdin: &mut stdin, stdout: &mut stdout, stderr: &mut stderr, map: &map };
    let status = main(&args, &mut tool);
    Ran { status, stdout, stderr: String::from_utf8(stderr).expect("text on standard error") }
}

/// An archive made by the real program, or what belongs to it.
fn vector(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/vectors").join(name);
    fs::read(path).expect("a vector")
}

fn sha256(data: &[u8]) -> String {
    Sha256::digest(data).iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// Pseudo-random bytes, the same in every run.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[4]
    };
    (0..length).map(|_| next()).collect()
}
