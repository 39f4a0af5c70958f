//! `rebuild-monitoring`.

use std::io;

use restore_lab::{
    homelab::Homelab,
    lab::{Lab, LabBuilder, MONITORING},
    monitoring::{Fault, Options, Stack},
};

use crate::{
    Scene,
    guests::open,
    screen::{Screen, from},
};

pub const SCENES: &[(&str, Scene)] = &[
    ("monitoring-check", check),
    ("monitoring-dead-target", dead_target),
    ("monitoring-restore", restore),
    ("monitoring-no-backup", no_backup),
    ("monitoring-rebuild", rebuild),
];

fn start(builder: LabBuilder, faults: &[Fault]) -> io::Result<Lab> {
    let options = Options { faults: faults.to_vec(), ..Options::default() };
    let lab = builder.monitoring(options).start()?;
    stack(&lab)?.wait_until_ready()?;
    Ok(lab)
}

fn stack(lab: &Lab) -> io::Result<&Stack> {
    lab.stack().ok_or_else(|| io::Error::other("the lab has no stack"))
}

fn off(lab: &Lab) -> io::Result<()> {
    lab.on_node(&["qm", "stop", &MONITORING.to_string()])?;
    while stack(lab)?.is_up() {
        std::thread::yield_now();
    }
    Ok(())
}

/// All is well.
fn check() -> io::Result<String> {
    let lab = start(LabBuilder::new().small().backups(&[]), &[])?;
    open(&lab, "rebuild-monitoring --check-only")?.ends()
}

/// An exporter does not answer.
fn dead_target() -> io::Result<String> {
    let lab = start(LabBuilder::new().small().backups(&[]), &[Fault::DeadTarget])?;
    open(&lab, "rebuild-monitoring --check-only")?.ends()
}

/// The broken VM comes back.
fn restore() -> io::Result<String> {
    let lab = start(LabBuilder::new().small(), &[])?;
    off(&lab)?;
    lab.break_disk(MONITORING)?;
    let shown = open(&lab, "rebuild-monitoring --yes")?.ends()?;
    Ok(from(&shown, "[1/6]"))
}

/// There is none.
fn no_backup() -> io::Result<String> {
    let lab = start(LabBuilder::new().small().backups(&[]), &[])?;
    open(&lab, "rebuild-monitoring")?.ends()
}

/// Terraform makes it anew.
fn rebuild() -> io::Result<String> {
    let homelab = Homelab::builder().monitoring(&[]).start()?;
    let homelab = homelab.ok_or_else(|| io::Error::other("the lab's Terraform provider is not there"))?;
    let vmid = homelab.monitoring_vmid().unwrap_or_default().to_string();
    homelab.on_node(&["qm", "stop", &vmid])?;
    homelab.on_node(&["qm", "destroy", &vmid])?;
    let line = "rebuild-monitoring --mode rebuild";
    let mut command = homelab.command("rebuild-monitoring");
    command.args(["--mode", "rebuild"]);
    let screen = Screen::open(line, &command)?;
    screen.wait_for("`monitoring` to go on:")?;
    screen.enter("monitoring")?;
    Ok(screen.ends()?.replace(&homelab.operator().project().display().to_string(), "/home/operator/homelab"))
}
