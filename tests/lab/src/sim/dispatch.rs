//! From a command line to the program that it names.

use std::{process::Command, time::SystemTime};

use super::args::Parsed;
use super::shell::{PLACES, TOOLS, translated};
use super::tool::Tool;
use super::{Io, Node, cli, compress, fault, ha, pct, pvesh, pvesm, qm, qmrestore, vma, vzdump};

/// Runs a command on a node; gives its exit status.
pub fn run(node: &Node, argv: &[String], io: &mut Io<'_>) -> i32 {
    let begun = SystemTime::now();
    let exit = fault::strike(node, argv, io).unwrap_or_else(|| program(node, argv, io));
    if let Err(error) = node.record(argv, begun, exit) {
        io.complain(&format!("pve-sim: cannot write the journal: {error}"));
    }
    exit
}

fn program(node: &Node, argv: &[String], io: &mut Io<'_>) -> i32 {
    let Some(name) = argv.first() else { return 255 };
    match name.as_str() {
        "vma" => tool(node, &argv[1..], io, vma::command::main),
        "zstd" => tool(node, &argv[1..], io, compress::zstd_main),
        "lzop" => tool(node, &argv[1..], io, compress::lzop_main),
        "pct" => parsed(node, argv, io, pct::main),
        "qm" => parsed(node, argv, io, qm::main),
        "ha-manager" => parsed(node, argv, io, ha::main),
        "pvesh" => parsed(node, argv, io, pvesh::main),
        "pvesm" => parsed(node, argv, io, pvesm::main),
        "vzdump" => parsed(node, argv, io, vzdump::main),
        "qmrestore" => parsed(node, argv, io, qmrestore::main),
        name if TOOLS.contains(&name) => system_tool(node, name, &argv[1..], io),
        other => {
            io.complain(&format!("bash: line 1: {other}: command not found"));
            127
        }
    }
}

/// Runs a program whose command line follows the rules of PVE's own programs.
fn parsed(
    node: &Node,
    argv: &[String],
    io: &mut Io<'_>,
    main: fn(&Node, &Parsed, &mut Io<'_>) -> i32,
) -> i32 {
    match cli::parse(node.version(), node.name(), argv) {
        Ok(accepted) => main(node, &accepted.into_parsed(), io),
        Err(rejected) => {
            io.complain(&rejected.message);
            rejected.exit
        }
    }
}

/// Runs one of the node's own tools.
fn tool(node: &Node, args: &[String], io: &mut Io<'_>, main: fn(&[String], &mut Tool<'_>) -> i32) -> i32 {
    let map = |path: &str| node.path(path);
    main(args, &mut Tool { stdin: io.stdin, stdout: io.stdout, stderr: io.stderr, map: &map })
}

/// Runs a tool of the machine on the node's files.
fn system_tool(node: &Node, name: &str, args: &[String], io: &mut Io<'_>) -> i32 {
    let root = node.root().to_string_lossy();
    let args = args.iter().map(|word| translated(word, &root, PLACES));
    match Command::new(name).args(args).env("PATH", "/usr/bin:/bin").status() {
        Ok(status) => status.code().unwrap_or(137),
        Err(error) => {
            io.complain(&format!("{name}: {error}"));
            126
        }
    }
}
