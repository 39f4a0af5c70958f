//! Looking after a container's volumes: their use, mounting them on the node, and those that nothing names.

use super::{CT, mounts, volume};
use crate::sim::node::property::format_size;
use crate::sim::node::storage::disk_usage;
use crate::sim::node::{FileLock, GuestConfig};
use crate::sim::{Failure, Io, Node, Outcome, Parsed, rescan};

const MOUNTED: &str = "mounted";

fn lock(node: &Node, vmid: u32, io: &mut Io<'_>) -> Outcome<FileLock> {
    node.lock_guest(CT, vmid, 10, &mut |text| drop(write!(io.stderr, "{text}")))
}

fn check_lock(config: &GuestConfig) -> Outcome {
    config.lock().map_or(Ok(()), |lock| Err(Failure::new(format!("CT is locked ({lock})"))))
}

/// `pct mount` leaves a lock behind that only `pct unmount` takes away.
pub(super) fn mount(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<i32> {
    let vmid = call.vmid();
    let _lock = lock(node, vmid, io)?;
    let mut config = node.config(CT, vmid)?;
    check_lock(&config)?;
    config.main.set("lock", MOUNTED);
    node.write_config(CT, vmid, &config)?;
    io.line(&format!("mounted CT {vmid} in '/var/lib/lxc/{vmid}/rootfs'"));
    Ok(0)
}

pub(super) fn unmount(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<i32> {
    let vmid = call.vmid();
    let _lock = lock(node, vmid, io)?;
    let mut config = node.config(CT, vmid)?;
    match config.lock() {
        Some(MOUNTED) => {}
        Some(other) => {
            return Err(Failure::new(format!("found lock '{other}' trying to remove '{MOUNTED}' lock")));
        }
        None => return Err(Failure::new(format!("no lock found trying to remove '{MOUNTED}'  lock"))),
    }
    config.main.remove("lock");
    node.write_config(CT, vmid, &config)?;
    Ok(0)
}

/// How full the file systems are. A stopped container is mounted for it, and so must not be locked.
pub(super) fn df(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<i32> {
    let vmid = call.vmid();
    let _lock = lock(node, vmid, io)?;
    let config = node.config(CT, vmid)?;
    if node.running(CT, vmid).is_none() {
        check_lock(&config)?;
    }
    let mut rows = vec![["MP", "Volume", "Size", "Used", "Avail", "Use%", "Path"].map(str::to_owned)];
    for (key, mount) in mounts(&config.main) {
        let Some(volid) = volume(&mount) else { continue };
        let path = node.place(volid)?.path;
        let total = node.volume_size(&path);
        let used = disk_usage(&node.path(&path)).min(total);
        rows.push([
            key,
            volid.to_owned(),
            human(total),
            human(used),
            human(total - used),
            format!("{:.1}", ratio(used, total)),
            mount.get("mp").unwrap_or("/").to_owned(),
        ]);
    }
    let widths: [usize; 6] = std::array::from_fn(|n| rows.iter().map(|row| row[n].len()).max().unwrap_or(0));
    for [key, volid, numbers @ .., path] in &rows {
        let mut line = format!("{key:<0$} {volid:<1$}", widths[0], widths[1]);
        for (number, width) in numbers.iter().zip(&widths[2..]) {
            line.push_str(&format!(" {number:>width$}"));
        }
        io.line(&format!("{line} {path}"));
    }
    Ok(0)
}

#[allow(clippy::cast_precision_loss)]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// A size in the largest unit that leaves at least 1.
fn human(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["K", "M", "G", "T"];
    if bytes < 1024 {
        return bytes.to_string();
    }
    let power = (bytes.ilog2() / 10).min(4);
    format!("{:.1}{}", ratio(bytes, 1 << (10 * power)), UNITS[power as usize - 1])
}

/// Brings sizes in line with the volumes, and adds volumes that nothing names as `unusedN`.
pub(super) fn rescan(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<i32> {
    let dry = call.is_on("dryrun");
    if dry {
        io.line("NOTE: running in dry-run mode, won't write changes out!");
    }
    io.line("rescan volumes...");
    let guests = call.get("vmid").map_or_else(|| node.guests(CT), |_| vec![call.vmid()]);
    for vmid in guests {
        let _lock = lock(node, vmid, io)?;
        let before = node.config(CT, vmid)?;
        let after = rescanned(node, vmid, before.clone(), io);
        if after != before && !dry {
            node.write_config(CT, vmid, &after)?;
        }
    }
    Ok(0)
}

fn rescanned(node: &Node, vmid: u32, mut config: GuestConfig, io: &mut Io<'_>) -> GuestConfig {
    let usable = node
        .storages()
        .into_iter()
        .filter(|storage| storage.allows("rootdir") && node.usable_storage(&storage.id).is_ok());
    let volumes: Vec<_> = usable.flat_map(|storage| node.volumes(&storage)).collect();
    for (key, mut mount) in mounts(&config.main) {
        let Some(found) = volumes.iter().find(|found| volume(&mount) == Some(&found.volid)) else { continue };
        let size = format_size(found.size);
        if mount.get("size") != Some(&size) {
            io.line(&format!("CT {vmid}: updated volume size of '{}' in config.", found.volid));
            mount.set("size", size);
            config.main.set(&key, mount.to_string());
        }
    }
    let named = rescan::named_volumes(&config);
    for found in volumes.iter().filter(|found| found.owner == vmid && !named.contains(&found.volid)) {
        let volid = &found.volid;
        let key = rescan::add_unused(&mut config, volid);
        io.line(&format!("CT {vmid}: add unreferenced volume '{volid}' as '{key}' to config."));
    }
    config
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn node() -> (tempfile::TempDir, Node) {
        let root = tempfile::tempdir().unwrap();
        let node = Node::open(root.path(), 9).unwrap();
        node.write("/etc/pve/storage.cfg", "dir: data\n\tpath /srv/data\n\tcontent images,rootdir\n")
            .unwrap();
        let (volume, _) = node.alloc_folder("data", 200, 64 << 20).unwrap();
        fs::write(node.path(&volume.path).join("hello"), "hello\n").unwrap();
        let config = format!("hostname: web\nrootfs: {},size=64M\n", volume.volid);
        node.write("/etc/pve/lxc/200.conf", &config).unwrap();
        (root, node)
    }

    fn pct(node: &Node, words: &[&str]) -> (i32, String) {
        let argv: Vec<_> = std::iter::once("pct").chain(words.iter().copied()).map(str::to_owned).collect();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let exit = crate::sim::run(
            node,
            &argv,
            &mut Io { stdin: &mut std::io::empty(), stdout: &mut out, stderr: &mut err },
        );
        out.extend(err);
        (exit, String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_mounted_container_is_locked_until_it_is_unmounted() {
        let (_root, node) = node();
        assert_eq!(
            pct(&node, &["mount", "200"]),
            (0, "mounted CT 200 in '/var/lib/lxc/200/rootfs'\n".into())
        );
        assert_eq!(pct(&node, &["mount", "200"]), (255, "CT is locked (mounted)\n".into()));
        assert_eq!(pct(&node, &["df", "200"]), (255, "CT is locked (mounted)\n".into()));
        assert_eq!(pct(&node, &["unmount", "200"]), (0, String::new()));
        let again = pct(&node, &["unmount", "200"]);
        assert_eq!(again, (255, "no lock found trying to remove 'mounted'  lock\n".into()));
    }

    #[test]
    fn a_rescan_finds_the_volumes_that_nothing_names() {
        let (_root, node) = node();
        let (orphan, _) = node.alloc_folder("data", 200, 1 << 20).unwrap();
        let line = format!("CT 200: add unreferenced volume '{}' as 'unused0' to config.\n", orphan.volid);
        let (_, dry) = pct(&node, &["rescan", "--vmid", "200", "--dryrun", "1"]);
        assert!(dry.ends_with(&line) && dry.starts_with("NOTE: "), "{dry}");
        assert_eq!(node.config(CT, 200).unwrap().main.get("unused0"), None);
        assert_eq!(pct(&node, &["rescan"]), (0, format!("rescan volumes...\n{line}")));
        assert_eq!(node.config(CT, 200).unwrap().main.get("unused0"), Some(orphan.volid.as_str()));
        assert_eq!(pct(&node, &["rescan"]), (0, "rescan volumes...\n".into()));
    }

    #[test]
    fn the_use_of_a_file_system_is_told() {
        let (_root, node) = node();
        let (exit, text) = pct(&node, &["df", "200"]);
        assert_eq!(exit, 0, "{text}");
        let row: Vec<_> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!((row[0], row[2], row[6]), ("rootfs", "64.0M", "/"), "{text}");
    }

    #[test]
    fn a_command_in_a_container_sees_its_files() {
        let (_root, node) = node();
        node.power_on(CT, 200).unwrap();
        assert_eq!(pct(&node, &["exec", "200", "--", "cat", "/hello"]), (0, "hello\n".into()));
        assert_eq!(pct(&node, &["exec", "200", "--", "ls"]), (0, "hello\n".into()));
        assert_eq!(pct(&node, &["exec", "200", "--", "test", "-e", "/gone"]), (1, String::new()));
        assert_eq!(pct(&node, &["exec", "200", "--", "cat", "/../../../etc/pve/lxc/200.conf"]).0, 1);
        assert_eq!(pct(&node, &["exec", "200", "--", "reboot"]).0, 127);
    }
}
