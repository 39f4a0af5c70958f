//! `qm`: virtual machines.

use super::node::config::Section;
use super::node::property::{Properties, disk_keys};
use super::{Failure, GuestKind, Io, Node, Outcome, Parsed, rescan};

mod agent;
mod clone;
mod destroy;
mod list;
mod power;
mod set;

pub(super) use list::snapshot_tree;
pub(super) use power::start_vm;

const VM: GuestKind = GuestKind::Vm;

/// The disks of a VM with their keys, in the order in which a node goes through them.
pub(super) fn disks(config: &Section) -> Vec<(String, Properties)> {
    disk_keys().filter_map(|key| Some((key.clone(), Properties::parse(config.get(&key)?)))).collect()
}

pub(super) fn main(node: &Node, call: &Parsed, io: &mut Io<'_>) -> i32 {
    let words: Vec<_> = call.words.iter().skip(1).map(String::as_str).collect();
    let outcome = match words[..] {
        ["start"] => power::start(node, call, io),
        ["stop"] => power::stop(node, call, io),
        ["shutdown"] => power::shutdown(node, call, io),
        ["reboot"] => power::reboot(node, call, io),
        ["wait"] => power::wait(node, call),
        ["destroy"] => destroy::destroy(node, call, io),
        ["clone"] => clone::clone(node, call, io),
        ["set"] => set::set(node, call, io),
        ["unlock"] => set::unlock(node, call),
        ["status"] => list::status(node, call, io),
        ["config"] => list::config(node, call, io),
        ["pending"] => list::pending(node, call, io),
        ["list"] => list::list(node, io),
        ["listsnapshot"] => list::snapshots(node, call, io),
        ["guest", "cmd"] | ["agent"] => agent::cmd(node, call, io),
        ["guest", "exec"] => agent::exec(node, call, io),
        ["rescan"] | ["disk", "rescan"] => scan(node, call, io),
        _ => Err(Failure::new(format!("the lab's qm has no '{}'", words.join(" ")))),
    };
    outcome.unwrap_or_else(|failure| {
        if !failure.text.is_empty() {
            io.complain(&failure.text);
        }
        failure.status
    })
}

fn scan(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<i32> {
    io.line("rescan volumes...");
    let guests = call.get("vmid").map_or_else(|| node.guests(VM), |_| vec![call.vmid()]);
    for vmid in guests {
        let _lock = node.lock_guest(VM, vmid, 10, &mut |text| drop(write!(io.stderr, "{text}")))?;
        rescan::guest(node, vmid, &mut |line| {
            io.line(line);
            Ok(())
        })?;
    }
    Ok(0)
}
