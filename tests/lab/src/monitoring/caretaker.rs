//! Starts and stops the stack with the VM that has its address.

use std::{io, path::PathBuf, sync::Arc};

use tokio::runtime::Runtime;

use super::{Fault, Shared, lock, services::Services};
use crate::{
    guest::{disk, docker::Docker},
    lab::{GUEST_PORT, end_processes_with},
    sim::{
        GuestKind, Node,
        node::{config::Section, power::boot_disk, property::Properties},
    },
    ssh::{Embedded, KeyPair},
};

/// Which VM, and since when it runs from which disk.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Boot {
    vmid: u32,
    since_ms: u64,
    disk: PathBuf,
}

/// Looks after the stack; whatever runs ends at drop.
pub(crate) struct Caretaker {
    shared: Arc<Shared>,
    runtime: Runtime,
    boot: Option<Boot>,
    ssh: Option<([u8; 32], Embedded)>,
    services: Option<Services>,
}

impl Caretaker {
    pub(super) fn new(shared: Arc<Shared>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        Ok(Self { shared, runtime, boot: None, ssh: None, services: None })
    }

    /// Makes everything as it has to be now.
    pub(crate) fn tend(&mut self, node: &Node) {
        let (order, faults) = {
            let orders = lock(&self.shared.orders);
            (orders.given, orders.faults.clone())
        };
        // What it cannot do now, because a port is not free yet, it does in its next round.
        let outcome = self.follow(node).and_then(|()| self.serve(&faults));
        let mut orders = lock(&self.shared.orders);
        orders.is_up = self.services.is_some() && outcome.is_ok();
        let is_early = outcome.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse);
        orders.trouble = outcome.err().map(|error| error.to_string());
        if is_early {
            return;
        }
        orders.obeyed = order;
        self.shared.obeyed.notify_all();
    }

    /// Notices that the VM was started or stopped.
    fn follow(&mut self, node: &Node) -> io::Result<()> {
        let boot = self.look(node);
        if boot == self.boot {
            return Ok(());
        }
        self.stop();
        if let Some(boot) = &boot {
            self.shared.guest().boot(&boot.disk, &self.shared.simulator)?;
        }
        self.boot = boot;
        Ok(())
    }

    /// The running VM that has the stack's address.
    fn look(&self, node: &Node) -> Option<Boot> {
        node.guests(GuestKind::Vm).into_iter().find_map(|vmid| {
            let running = node.running(GuestKind::Vm, vmid)?;
            let config = node.config(GuestKind::Vm, vmid).ok()?.main;
            if !self.is_its(&config) || !node.has_booted(GuestKind::Vm, vmid) {
                return None;
            }
            let place = node.place(boot_disk(&config)?.volume()?).ok()?;
            Some(Boot { vmid, since_ms: running.since_ms, disk: node.path(&place.path) })
        })
    }

    fn is_its(&self, config: &Section) -> bool {
        let address = self.shared.address.to_string();
        config.iter().filter(|(key, _)| key.starts_with("ipconfig")).any(|(_, value)| {
            let settings = Properties::parse(value);
            settings.get("ip").is_some_and(|ip| ip.split('/').next() == Some(&address))
        })
    }

    fn serve(&mut self, faults: &[Fault]) -> io::Result<()> {
        let Some(boot) = self.boot.clone() else { return Ok(()) };
        self.open_ssh(&boot, faults)?;
        if !disk::has_stack(&boot.disk) {
            if self.services.take().is_some() {
                Docker::default().write(&self.shared.guest())?;
            }
            return Ok(());
        }
        let fresh = || Services::new(&self.shared, self.runtime.handle(), boot.since_ms);
        self.services.get_or_insert_with(fresh).tend(faults)
    }

    /// The host key lies on the disk; a guest that has none makes one when it boots, as a fresh clone does.
    fn open_ssh(&mut self, boot: &Boot, faults: &[Fault]) -> io::Result<()> {
        if faults.contains(&Fault::Closed(GUEST_PORT)) {
            self.ssh = None;
            return Ok(());
        }
        let mut seed = if let Some(seed) = disk::host_key_seed(&boot.disk) {
            seed
        } else {
            let seed = KeyPair::seed()?;
            disk::set_host_key_seed(&boot.disk, &seed)?;
            seed
        };
        if faults.contains(&Fault::OtherHostKey) {
            seed.reverse();
        }
        if self.ssh.as_ref().is_some_and(|(known, _)| *known == seed) {
            return Ok(());
        }
        self.ssh = None;
        let server = Embedded::start(self.shared.ssh(GUEST_PORT, KeyPair::from_seed(&seed)))?;
        self.ssh = Some((seed, server));
        Ok(())
    }

    fn stop(&mut self) {
        self.ssh = None;
        self.services = None;
        for (name, value) in self.shared.guest().variables() {
            end_processes_with(&format!("{name}={value}"));
        }
    }
}

impl Drop for Caretaker {
    fn drop(&mut self) {
        self.stop();
    }
}
