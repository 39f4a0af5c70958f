//! `pct exec`: a few harmless commands in a running container.

use std::fs;
use std::path::{Component, Path, PathBuf};

use super::{CT, mounts, volume};
use crate::sim::node::names;
use crate::sim::{Failure, Io, Node, Outcome, Parsed};

pub(super) fn exec(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<i32> {
    let vmid = call.vmid();
    let config = node.config(CT, vmid)?;
    if node.running(CT, vmid).is_none() {
        return Err(Failure::new(format!("container '{vmid}' not running!")));
    }
    let mut volumes = Vec::new();
    for (_, mount) in mounts(&config.main) {
        if let Some(volid) = volume(&mount) {
            let path = mount.get("mp").unwrap_or("/").to_owned();
            volumes.push((PathBuf::from(path), node.path(&node.place(volid)?.path)));
        }
    }
    let words: Vec<&str> = call.rest.iter().map(String::as_str).collect();
    Ok(run(&volumes, &words, io))
}

/// Where a path of the container really is, on the volume that is mounted closest to it. `..` leads nowhere.
fn inside(volumes: &[(PathBuf, PathBuf)], path: &str) -> PathBuf {
    let named = Path::new(path).components().filter(|part| matches!(part, Component::Normal(_)));
    let path = Path::new("/").join(named.collect::<PathBuf>());
    let mounted = volumes.iter().filter(|(mount, _)| path.starts_with(mount));
    let closest = mounted.max_by_key(|(mount, _)| mount.components().count());
    closest.and_then(|(mount, real)| Some(real.join(path.strip_prefix(mount).ok()?))).unwrap_or(path)
}

fn run(volumes: &[(PathBuf, PathBuf)], words: &[&str], io: &mut Io<'_>) -> i32 {
    let inside = |path: &str| inside(volumes, path);
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
        ["ls"] => list(&inside("/"), "/", io),
        ["ls", path] => list(&inside(path), path, io),
        _ => {
            let name = words.first().copied().unwrap_or_default();
            io.complain(&format!("lxc-attach: {name}: command not found"));
            127
        }
    }
}

fn list(real: &Path, path: &str, io: &mut Io<'_>) -> i32 {
    if !real.exists() {
        io.complain(&format!("ls: cannot access '{path}': No such file or directory"));
        return 2;
    }
    for name in names(real) {
        io.line(&name);
    }
    0
}
