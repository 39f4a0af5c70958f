//! A homelab is broken, looked at and told apart from others.
#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "a test may end that way")]

use std::{
    collections::BTreeSet,
    io::Read as _,
    net::TcpStream,
    time::{Duration, Instant},
};

use restore_lab::{
    lab::{CT, Lab, LabBuilder, VM},
    sim::GuestKind,
};

const LIMIT: Duration = Duration::from_secs(20);

fn lab() -> Lab {
    LabBuilder::new().backups(&[]).start().unwrap()
}

/// What a guest says on TCP; nothing if it does not answer.
fn greeting(lab: &Lab, vmid: u32) -> Option<String> {
    let address = lab.guest_address(vmid).unwrap();
    let mut client = TcpStream::connect_timeout(&address, Duration::from_millis(500)).ok()?;
    client.set_read_timeout(Some(LIMIT)).ok()?;
    let mut text = String::new();
    client.read_to_string(&mut text).ok()?;
    Some(text).filter(|text| !text.is_empty())
}

fn wait_for(lab: &Lab, vmid: u32, expected: Option<&str>) {
    let deadline = Instant::now() + LIMIT;
    while greeting(lab, vmid).as_deref() != expected {
        assert!(Instant::now() < deadline, "guest {vmid} does not get to {expected:?}");
        std::thread::yield_now();
    }
}

#[test]
fn a_guest_answers_while_it_runs_and_has_a_system() {
    let lab = lab();
    let banner = Some("SSH-2.0-lab\r\n");
    wait_for(&lab, VM, banner);
    lab.break_disk(VM).unwrap();
    wait_for(&lab, VM, None);

    wait_for(&lab, CT, banner);
    let node = lab.node().unwrap();
    node.power_off(GuestKind::Ct, CT).unwrap();
    wait_for(&lab, CT, None);
    node.power_on(GuestKind::Ct, CT).unwrap();
    wait_for(&lab, CT, banner);
    lab.break_container(CT).unwrap();
    wait_for(&lab, CT, None);
}

#[test]
fn the_inventory_tells_what_changed_and_nothing_else() {
    let lab = lab();
    let before = lab.inventory().unwrap();
    lab.on_node(&["vma", "--help"]).unwrap();
    assert_eq!(lab.inventory().unwrap(), before, "a command that only looks is no change");

    lab.break_disk(VM).unwrap();
    lab.node().unwrap().power_off(GuestKind::Ct, CT).unwrap();
    let after = lab.inventory().unwrap();
    let mut changed: BTreeSet<_> = before.files.keys().chain(after.files.keys()).collect();
    changed.retain(|file| before.files.get(*file) != after.files.get(*file));
    assert_eq!(Vec::from_iter(changed), ["/dev/pve/vm-101-disk-0", "/run/lxc/102.pid"]);
}

#[test]
fn backups_have_the_times_that_were_asked_for() {
    let times = ["2026_01_29-01_00_04", "2026_01_30-01_00_04"];
    let lab = LabBuilder::new().backups(&times).compress("gzip").start().unwrap();
    for time in times {
        for name in [format!("vzdump-qemu-101-{time}.vma.gz"), format!("vzdump-lxc-102-{time}.tar.gz")] {
            assert!(lab.archive(&name).metadata().unwrap().len() > 1 << 20, "{name}");
        }
    }
    assert!(lab.journal().unwrap().is_empty(), "what made the lab is not what the operator did");
}

#[test]
fn labs_at_the_same_time_keep_out_of_each_others_way() {
    let (one, other) = (lab(), lab());
    assert_ne!(one.guest_address(VM), other.guest_address(VM));
    one.break_disk(VM).unwrap();
    wait_for(&one, VM, None);
    wait_for(&other, VM, Some("SSH-2.0-lab\r\n"));
}
