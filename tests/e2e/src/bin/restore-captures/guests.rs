//! `restore-vm`.

use std::io;

use restore_lab::lab::{Fault, Lab, VM};

use crate::{
    Scene,
    screen::{Screen, from, until},
};

pub const SCENES: &[(&str, Scene)] = &[
    ("restore", restore),
    ("reconnect", reconnect),
    ("rollback", rollback),
    ("cut-off", cut_off),
    ("refusal", refusal),
];

/// The broken VM comes back.
fn restore() -> io::Result<String> {
    let lab = Lab::start()?;
    lab.break_disk(VM)?;
    let screen = open(&lab, "restore-vm 101")?;
    screen.wait_for("type `101` to go on")?;
    screen.enter("101")?;
    screen.ends()
}

/// The same from the question on, with its colours.
pub fn picture() -> io::Result<String> {
    let lab = Lab::start()?;
    lab.break_disk(VM)?;
    let screen = open(&lab, "restore-vm 101")?;
    screen.wait_for("type `101` to go on")?;
    screen.enter("101")?;
    screen.ends()?;
    let shown = screen.coloured()?;
    let begin = shown.lines().take(1).chain(["…"]).map(str::to_owned);
    let rest = shown.lines().skip_while(|line| !line.contains("will be overwritten"));
    let rest = rest.take_while(|line| !line.contains("remove:")).map(str::to_owned);
    Ok(begin.chain(rest).collect::<Vec<_>>().join("\n"))
}

/// The connection breaks in the middle.
fn reconnect() -> io::Result<String> {
    let lab = Lab::start()?;
    lab.slow_down(&["qmrestore"], 3_000)?;
    let screen = open(&lab, "restore-vm 101 --yes")?;
    screen.wait_for("[6/7]")?;
    if let Some(server) = lab.server() {
        server.cut_now();
    }
    let shown = screen.ends()?;
    Ok(until(&from(&shown, "[5/7]"), "Restore VM 101 (prod-web)"))
}

/// The restore fails, and the VM is as it was.
fn rollback() -> io::Result<String> {
    let lab = Lab::start()?;
    lab.fault(&["qmrestore"], Some(1), &Fault::FullAfter(1 << 20))?;
    let screen = open(&lab, "restore-vm 101 --yes")?;
    let shown = screen.ends()?;
    Ok(from(&shown, "[1/7]"))
}

/// The program was killed in the middle; the next one says so.
fn cut_off() -> io::Result<String> {
    let lab = Lab::start()?;
    lab.slow_down(&["qmrestore"], 3_000)?;
    let screen = open(&lab, "restore-vm 101 --yes")?;
    screen.wait_for("[6/7]")?;
    screen.kill()?;
    drop(screen);
    let screen = open(&lab, "restore-vm 101")?;
    screen.ends()
}

/// Everything that speaks against it.
fn refusal() -> io::Result<String> {
    let lab = Lab::start()?;
    let config = lab.read("/etc/pve/qemu-server/101.conf")?;
    lab.write("/etc/pve/qemu-server/101.conf", &format!("{config}lock: backup\nprotection: 1\n"))?;
    let screen = open(&lab, "restore-vm 101 --target-storage tank")?;
    screen.ends()
}

pub fn open(lab: &Lab, line: &str) -> io::Result<Screen> {
    let mut words = line.split(' ');
    let mut command = lab.command(words.next().unwrap_or_default());
    command.args(words).env_clear().envs(lab.operator().variables()).current_dir(lab.operator().project());
    Screen::open(line, &command)
}
