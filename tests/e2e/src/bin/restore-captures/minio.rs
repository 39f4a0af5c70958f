//! `rebuild-minio`.

use std::io;

use restore_lab::homelab::Homelab;

use crate::{Scene, screen::Screen};

pub const SCENES: &[(&str, Scene)] = &[
    ("minio-rebuild", rebuild),
    ("minio-restore", restore),
    ("minio-gone", gone),
    ("minio-nothing", nothing),
];

/// A homelab whose states are known here.
fn homelab() -> io::Result<Homelab> {
    let homelab = Homelab::builder().start()?.ok_or_else(|| io::Error::other("a program is not there"))?;
    let pulled = homelab.command("restore-tfstate").args(["--all", "--pull"]).output()?;
    if pulled.status.success() {
        Ok(homelab)
    } else {
        Err(io::Error::other("the states could not be pulled"))
    }
}

fn open(homelab: &Homelab, line: &str) -> io::Result<Screen> {
    let mut command = homelab.command("rebuild-minio");
    command.args(line.split(' ').skip(1));
    Screen::open(line, &command)
}

/// What was on the screen, with the path of the project as an operator has it.
fn ends(homelab: &Homelab, screen: &Screen) -> io::Result<String> {
    let text = screen.ends()?;
    Ok(text.replace(&homelab.operator().project().display().to_string(), "/home/operator/homelab"))
}

fn destroy(homelab: &Homelab) -> io::Result<()> {
    homelab.destroy_minio()?;
    homelab.wait_for_minio(false)
}

fn rebuild() -> io::Result<String> {
    let homelab = homelab()?;
    destroy(&homelab)?;
    let screen = open(&homelab, "rebuild-minio")?;
    screen.wait_for("[y/N]")?;
    screen.enter("y")?;
    ends(&homelab, &screen)
}

fn restore() -> io::Result<String> {
    let homelab = homelab()?;
    let vmid = homelab.minio_vmid().ok_or_else(|| io::Error::other("there is no container"))?.to_string();
    let words = ["vzdump", &vmid, "--storage", "local", "--compress", "zstd"];
    if !homelab.on_node(&words)?.status.success() {
        return Err(io::Error::other("there is no backup"));
    }
    homelab.install_source().answer_with(410);
    destroy(&homelab)?;
    let screen = open(&homelab, "rebuild-minio")?;
    screen.wait_for("[y/N]")?;
    screen.enter("y")?;
    ends(&homelab, &screen)
}

fn gone() -> io::Result<String> {
    let homelab = homelab()?;
    homelab.install_source().answer_with(410);
    destroy(&homelab)?;
    ends(&homelab, &open(&homelab, "rebuild-minio")?)
}

fn nothing() -> io::Result<String> {
    let homelab = homelab()?;
    ends(&homelab, &open(&homelab, "rebuild-minio")?)
}
