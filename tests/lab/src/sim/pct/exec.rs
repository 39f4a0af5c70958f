//! `pct exec`: a few harmless commands in a running container.

use std::fs;
use std::path::Path;

use super::{CT, mounts, volume};
use crate::sim::{Failure, Io, Node, Outcome, Parsed};

pub(super) fn exec(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<i32> {
    let vmid = call.vmid();
    let config = node.config(CT, vmid)?;
    if node.running(CT, vmid).is_none() {
        return Err(Failure::new(format!("container '{vmid}' not running!")));
    }
    let root = mounts(&config.main).into_iter().next().map(|(_, mount)| mount);
    let volid = root.as_ref().and_then(volume).ok_or_else(|| Failure::new("no root file system"))?;
    let root = node.path(&node.place(volid)?.path);
    let words: Vec<&str> = call.rest.iter().map(String::as_str).collect();
    Ok(run(&root, &words, io))
}

fn run(root: &Path, words: &[&str], io: &mut Io<'_>) -> i32 {
    let inside = |path: &str| root.join(path.trim_start_matches('/'));
    match words {
        ["true"] => 0,
        ["false"] => 1,
        ["hostname"] => {
            io.line(fs::read_to_string(inside("etc/hostname")).unwrap_or_default().trim());
            0
        }
        ["test", "-e", path] => i32::from(!inside(path).exists()),
        ["cat", path] => match fs::read(inside(path)) {
            Ok(bytes) => i32::from(io.stdout.write_all(&bytes).is_err()),
            Err(_) => {
                io.complain(&format!("cat: {path}: No such file or directory"));
                1
            }
        },
        ["ls", path] => {
            let mut names: Vec<_> = fs::read_dir(inside(path))
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect();
            names.sort();
            for name in &names {
                io.line(name);
            }
            0
        }
        _ => {
            let name = words.first().copied().unwrap_or_default();
            io.complain(&format!("lxc-attach: {name}: command not found"));
            127
        }
    }
}
