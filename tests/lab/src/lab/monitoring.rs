//! The monitoring VM of a lab: its disk, its configuration, and what the operator's files say of it.

use std::{fs, io, io::Write as _, net::IpAddr, path::Path};

use super::{
    Operator,
    builder::{GUEST_PORT, NODE, disk},
    content::seeded,
};
use crate::{
    guest::disk::{host_key_seed, install_stack, set_host_key_seed},
    sim::{GuestKind, Node, node::power::BOOT_SIGNATURE},
    ssh::KeyPair,
};

/// The monitoring VM of a lab that has one.
pub const MONITORING: u32 = 151;

/// Its disk.
const DISK: &str = "local-lvm:vm-151-disk-0";

/// Makes the VM, with the stack on its disk.
pub(super) fn make(node: &Node, address: &str, size: u64, data: usize) -> io::Result<()> {
    node.write(
        &node.config_path(GuestKind::Vm, MONITORING),
        &format!(
            "agent: 1\nboot: order=scsi0\ncores: 2\nipconfig0: ip={address}/8,gw=127.0.0.1\nmemory: 4096\n\
             name: monitoring-stack\nnet0: virtio=BC:24:11:00:00:97,bridge=vmbr0\nonboot: 1\nostype: l26\n\
             scsi0: {DISK},size={}M\nscsihw: virtio-scsi-single\n\
             smbios1: uuid=99999999-2222-4333-8444-555555555555\ntags: monitoring\n",
            size >> 20
        ),
    )?;
    let mut system = seeded("monitoring", data);
    system[..BOOT_SIGNATURE.len()].copy_from_slice(BOOT_SIGNATURE);
    disk(node, DISK, size, &system)?;
    let path = disk_path(node)?;
    install_stack(&path)?;
    set_host_key_seed(&path, &KeyPair::seed()?)
}

/// Tells the operator's files of it.
pub(super) fn tell(
    operator: &Operator,
    node: &Node,
    password: &str,
    (address, node_address): (IpAddr, IpAddr),
) -> io::Result<()> {
    trust(operator, &disk_path(node)?, address)?;
    let path = operator.environment("monitoring").join("terraform.tfvars");
    let before = fs::read_to_string(&path)?;
    fs::write(&path, before.replace("monitoring = null\n", &tfvars(address, node_address, password)))
}

/// Lets the operator know the host key on this disk, as after a first login.
pub(crate) fn trust(operator: &Operator, disk: &Path, address: IpAddr) -> io::Result<()> {
    let seed = host_key_seed(disk).ok_or_else(|| io::Error::other("no host key"))?;
    let known = operator.home().join(".ssh/known_hosts");
    let key = KeyPair::from_seed(&seed).public_line()?;
    writeln!(fs::File::options().append(true).open(known)?, "[{address}]:{GUEST_PORT} {key}")
}

fn tfvars(address: IpAddr, node_address: IpAddr, password: &str) -> String {
    format!(
        "monitoring = {{\n  node = null\n  vm = {{ ip = \"{address}\", cores = 2, memory = 4096, disk = 32, data_disk = 50 }}\n  \
         proxmox_nodes = [\n    {{ name = \"{NODE}\", ip = \"{node_address}\", token_value = \"canary-pve-token-51c0\" }},\n  ]\n  \
         grafana_admin_password = \"{password}\"\n  retention_days         = 30\n  \
         telegram = {{ enabled = false, bot_token = \"\", chat_id = \"\" }}\n}}\n"
    )
}

fn disk_path(node: &Node) -> io::Result<std::path::PathBuf> {
    let place = node.place(DISK).map_err(|failure| io::Error::other(failure.text))?;
    Ok(node.path(&place.path))
}

/// The folder of what belongs to the stack, below that of the lab.
pub(super) fn folder(lab: &Path) -> std::path::PathBuf {
    lab.join("monitoring")
}
