//! What guests are made of: the archive of a container, and a VM that is cloned.

use std::{fs, io};

use crate::sim::{GuestKind, Node};

/// The volume ID of the archive.
pub(super) const CONTAINER: &str = "local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst";
/// The number of the VM.
const MACHINE: u32 = 9000;
/// Bytes of its disk.
const DISK: u64 = 4 << 20;

/// The files of a system that boots.
const FILES: [(&str, &str); 5] = [
    ("./etc/debian_version", "12.7\n"),
    ("./etc/default/locale", "LANG=C.UTF-8\n"),
    ("./etc/systemd/system/cron.service", "[Unit]\nDescription=cron\n"),
    ("./sbin/init", "#!/bin/sh\n"),
    ("./usr/local/bin/README", "local\n"),
];

/// Puts both onto a node.
pub(super) fn write(node: &Node) -> io::Result<()> {
    let place = |volid: &str| node.volume_path(volid).map_err(|failure| io::Error::other(failure.text));
    let archive = place(CONTAINER)?;
    fs::create_dir_all(archive.parent().unwrap_or(&archive))?;
    fs::write(archive, zstd::encode_all(tree()?.as_slice(), 1)?)?;

    let volid = format!("local-lvm:base-{MACHINE}-disk-0");
    fs::File::create(place(&volid)?)?.set_len(DISK)?;
    let path = node.place(&volid).map_err(|failure| io::Error::other(failure.text))?.path;
    node.sign_boot_disk(&path)?;
    node.write(
        &node.config_path(GuestKind::Vm, MACHINE),
        &format!(
            "agent: 1\nboot: order=scsi0\ncores: 1\nmemory: 512\nname: debian-12-template\n\
             net0: virtio=BC:24:11:00:90:00,bridge=vmbr0\nostype: l26\nscsi0: {volid},size=4M\n\
             scsihw: virtio-scsi-single\ntemplate: 1\n"
        ),
    )
}

fn tree() -> io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, text) in FILES {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        header.set_size(text.len() as u64);
        header.set_mtime(0);
        // As a path it would lose its `./`.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        tar.append(&header, text.as_bytes())?;
    }
    tar.into_inner()
}
