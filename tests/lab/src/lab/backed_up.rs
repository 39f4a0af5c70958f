//! What lies on a lab's backup servers.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::Path,
};

use super::Lab;
use crate::sim::{
    backup_server::{ABOUT, About, ROOT, Snapshot},
    vma::{Reader, Target},
};

impl Lab {
    /// Changes what a backup server knows of a backup.
    pub fn change_snapshot(&self, volid: &str, change: impl FnOnce(&mut About)) -> io::Result<()> {
        let (node, snapshot) = (self.node()?, self.snapshot(volid)?);
        let mut about = snapshot.about.clone();
        change(&mut about);
        node.write_about(&snapshot, &about)
    }

    fn snapshot(&self, volid: &str) -> io::Result<Snapshot> {
        let found = self.node()?.snapshot(volid).map_err(|failure| io::Error::other(failure.text))?;
        found.ok_or_else(|| io::Error::other(format!("`{volid}` is on no backup server")))
    }
}

/// Turns the archive of a VM into a snapshot in `folder`.
pub(super) fn snapshot_of_vm(archive: &Path, folder: &Path) -> io::Result<()> {
    let broken = |error| io::Error::other(format!("{error:?}"));
    begin(folder)?;
    let reader = Reader::open(File::open(archive)?).map_err(broken)?;
    for config in &reader.header().configs {
        let file = if config.name == "qemu-server.fw" { "fw.conf" } else { config.name.as_str() };
        fs::write(folder.join(format!("{file}.blob")), &config.data)?;
    }
    let target = |device: &crate::sim::vma::Device| {
        let image = File::create(folder.join(Snapshot::image(&device.name)))?;
        image.set_len(device.size)?;
        Ok((device.id, Target::Write { disk: Box::new(image), zeros: false }))
    };
    let targets = reader.header().devices.iter().map(target).collect::<io::Result<_>>()?;
    reader.restore(targets, None).map_err(broken)?;
    Ok(())
}

/// Turns the archive of a container into a snapshot in `folder`: what describes it is not among its files.
pub(super) fn snapshot_of_container(archive: &Path, folder: &Path) -> io::Result<()> {
    begin(folder)?;
    let mut root = File::create(folder.join(ROOT))?;
    let mut input = tar::Archive::new(File::open(archive)?);
    // Each member as it stands, with those that only carry a long name.
    for member in input.entries()?.raw(true) {
        let mut member = member?;
        let blob = match String::from_utf8_lossy(&member.path_bytes()).as_ref() {
            "./etc/vzdump/pct.conf" => "pct.conf.blob",
            "./etc/vzdump/pct.fw" => "fw.conf.blob",
            _ => {
                root.write_all(member.header().as_bytes())?;
                let size = io::copy(&mut member, &mut root)?;
                let padding = size.next_multiple_of(512) - size;
                io::copy(&mut io::repeat(0).take(padding), &mut root)?;
                continue;
            }
        };
        let mut file = File::create(folder.join(blob))?;
        io::copy(&mut member, &mut file)?;
    }
    root.write_all(&[0; 1024])
}

fn begin(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join(ABOUT), serde_json::to_string(&About::default())?)
}
