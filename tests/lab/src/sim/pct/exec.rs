//! `pct exec`: a few commands in a running container, and the services inside.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use super::{CT, download, mounts, volume};
use crate::sim::node::{Activity, names};
use crate::sim::{Failure, Io, Node, Outcome, Parsed};

pub(super) fn exec(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<i32> {
    let vmid = call.vmid();
    if node.config(CT, vmid).is_ok() && node.running(CT, vmid).is_none() {
        return Err(Failure::new(format!("container '{vmid}' not running!")));
    }
    let inside = Inside { node, vmid, volumes: volumes(node, vmid)? };
    let words: Vec<&str> = call.rest.iter().map(String::as_str).collect();
    Ok(inside.run(&words, io))
}

/// Where a path in a container really is.
pub(crate) fn real_path(node: &Node, vmid: u32, path: &str) -> Outcome<PathBuf> {
    Ok(Inside { node, vmid, volumes: volumes(node, vmid)? }.real(path))
}

/// Its volumes: where each is mounted, and where it really is.
fn volumes(node: &Node, vmid: u32) -> Outcome<Vec<(PathBuf, PathBuf)>> {
    let config = node.config(CT, vmid)?;
    let mut volumes = Vec::new();
    for (_, mount) in mounts(&config.main) {
        if let Some(volid) = volume(&mount) {
            let path = mount.get("mp").unwrap_or("/").to_owned();
            volumes.push((PathBuf::from(path), node.path(&node.place(volid)?.path)));
        }
    }
    Ok(volumes)
}

/// Where the init of the lab's containers is. A program can be run in a container as soon as that runs, whatever its init
/// is at; only the init knows whether the system is up.
const SYSTEMD: &str = "sbin/init";

/// What systemd says of itself.
fn system_state(is_up: bool, io: &mut Io<'_>) -> i32 {
    io.line(if is_up { "running" } else { "starting" });
    i32::from(!is_up)
}

/// What a process in the container sees.
struct Inside<'n> {
    node: &'n Node,
    vmid: u32,
    volumes: Vec<(PathBuf, PathBuf)>,
}

impl Inside<'_> {
    /// On the volume that is mounted closest to it. `..` leads nowhere.
    fn real(&self, path: &str) -> PathBuf {
        let named = Path::new(path).components().filter(|part| matches!(part, Component::Normal(_)));
        let path = Path::new("/").join(named.collect::<PathBuf>());
        let mounted = self.volumes.iter().filter(|(mount, _)| path.starts_with(mount));
        let closest = mounted.max_by_key(|(mount, _)| mount.components().count());
        closest.and_then(|(mount, real)| Some(real.join(path.strip_prefix(mount).ok()?))).unwrap_or(path)
    }

    fn run(&self, words: &[&str], io: &mut Io<'_>) -> i32 {
        match words {
            ["true"] => 0,
            ["false"] => 1,
            ["hostname"] => {
                io.line(fs::read_to_string(self.real("etc/hostname")).unwrap_or_default().trim());
                0
            }
            ["test", "-e", path] => i32::from(!self.real(path).exists()),
            ["test", "-d", path] => i32::from(!self.real(path).is_dir()),
            ["test", "-x", path] => i32::from(!is_executable(&self.real(path))),
            ["cat", path] => match fs::read(self.real(path)) {
                Ok(bytes) => i32::from(io.stdout.write_all(&bytes).is_err()),
                Err(_) => {
                    io.complain(&format!("cat: {path}: No such file or directory"));
                    1
                }
            },
            ["ls"] => list(&self.real("/"), "/", io),
            ["ls", path] => list(&self.real(path), path, io),
            ["mkdir", "-p", path] => done("mkdir", fs::create_dir_all(self.real(path)), io),
            ["chmod", "+x", path] => {
                done("chmod", fs::set_permissions(self.real(path), fs::Permissions::from_mode(0o755)), io)
            }
            ["tee", path] => self.tee(path, io),
            ["curl", "-fsSL", "-o", path, url] => self.curl(path, url, io),
            ["systemctl", "is-system-running"] if self.real(SYSTEMD).exists() => {
                system_state(self.node.has_booted(CT, self.vmid), io)
            }
            ["systemctl", words @ ..] => self.systemctl(words, io),
            ["journalctl", "-u", unit, ..] => {
                let service = self.node.service(self.vmid, unit).unwrap_or_default();
                io.line(if service.said.is_empty() { "-- No entries --" } else { &service.said });
                0
            }
            _ => {
                let name = words.first().copied().unwrap_or_default();
                io.complain(&format!("lxc-attach: {name}: command not found"));
                127
            }
        }
    }

    fn tee(&self, path: &str, io: &mut Io<'_>) -> i32 {
        let mut bytes = Vec::new();
        let outcome = io.stdin.read_to_end(&mut bytes).and_then(|_| fs::write(self.real(path), &bytes));
        drop(io.stdout.write_all(&bytes));
        done("tee", outcome, io)
    }

    fn curl(&self, path: &str, url: &str, io: &mut Io<'_>) -> i32 {
        match download::get(url) {
            Ok((200, body)) => done("curl", fs::write(self.real(path), body), io),
            Ok((status, _)) => {
                io.complain(&format!("curl: (22) The requested URL returned error: {status}"));
                22
            }
            Err(error) => {
                io.complain(&format!("curl: (7) Failed to connect to {url}: {error}"));
                7
            }
        }
    }

    fn systemctl(&self, words: &[&str], io: &mut Io<'_>) -> i32 {
        let outcome = match words {
            ["daemon-reload"] => Ok(()),
            ["is-active", unit] => {
                let activity = self.node.service(self.vmid, name(unit)).unwrap_or_default().activity;
                io.line(activity.word());
                return if activity == Activity::Active { 0 } else { 3 };
            }
            [verb @ ("start" | "restart" | "stop" | "enable"), unit] => self.change(verb, name(unit)),
            ["enable", "--now", unit] => {
                self.change("enable", name(unit)).and_then(|()| self.change("restart", name(unit)))
            }
            _ => Err(Failure::new(format!("Unknown command verb {}.", words.join(" ")))),
        };
        outcome.map_or_else(
            |failure| {
                io.complain(&failure.text);
                failure.status
            },
            |()| 0,
        )
    }

    fn change(&self, verb: &str, unit: &str) -> Outcome {
        if self.node.has_unit(self.vmid, unit).is_none() {
            let text = format!("Failed to {verb} {unit}.service: Unit {unit}.service not found.");
            return Err(Failure::with_status(text, 5));
        }
        match verb {
            "enable" => self.node.enable_unit(self.vmid, unit),
            "stop" => self.node.set_service(self.vmid, unit, Activity::Inactive, "Stopped."),
            _ => self.node.set_service(self.vmid, unit, Activity::Active, "Started."),
        }
    }
}

fn name(unit: &str) -> &str {
    unit.strip_suffix(".service").unwrap_or(unit)
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// The exit status of a tool that did one thing.
fn done(tool: &str, outcome: io::Result<()>, io: &mut Io<'_>) -> i32 {
    match outcome {
        Ok(()) => 0,
        Err(error) => {
            io.complain(&format!("{tool}: {}", crate::sim::tool::strerror(&error)));
            1
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
