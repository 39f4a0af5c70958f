//! Makes the archives of a scenario, sound or damaged.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::ArchiveGiven;
use super::observe::hex;
use crate::sim::Node;
use crate::sim::compress::Compression;
use crate::sim::vma::{CLUSTER, Config, Device, Header, Writer};

/// When the archives of scenarios were made.
const CTIME: i64 = 1_769_774_400;

/// Which hashes of a scenario the contents that stand in for unknown ones have.
#[derive(Default)]
pub(super) struct Claims {
    claimed: BTreeMap<String, String>,
    /// Compressed archives by size: the size that the scenario gives.
    sizes: BTreeMap<u64, u64>,
}

impl Claims {
    /// Notes that content with the hash `real` stands for content with the hash `claimed`.
    pub(super) fn insert(&mut self, real: String, claimed: String) {
        self.claimed.insert(real, claimed);
    }

    /// The hash that a scenario means by content with the hash `real`.
    pub(super) fn meaning<'a>(&'a self, real: &'a str) -> &'a str {
        self.claimed.get(real).map_or(real, String::as_str)
    }

    /// A text in which the sizes of archives are those that the scenario gives: compressors differ.
    pub(super) fn with_claimed_sizes(&self, text: &str) -> String {
        // Some places count whole sectors.
        let in_sectors = self.sizes.iter().map(|(a, b)| (a.next_multiple_of(512), b.next_multiple_of(512)));
        let pairs = self.sizes.iter().map(|(a, b)| (*a, *b)).chain(in_sectors);
        pairs.fold(text.to_owned(), |text, (real, claimed)| {
            text.replace(&real.to_string(), &claimed.to_string())
        })
    }

    /// Content with this hash and size if it is known, else some that stands for it.
    pub(super) fn content(&mut self, sha256: &str, size: Option<u64>) -> Vec<u8> {
        let size = usize::try_from(size.unwrap_or_default()).unwrap_or_default();
        let known =
            [b"12.5\n".to_vec(), b"hello\n".to_vec(), b"in the mount point\n".to_vec(), vec![0; size]];
        let made = ["blob", "blob2"].map(|seed| recipe(seed, size));
        if let Some(content) =
            known.into_iter().chain(made).find(|content| hex(&Sha256::digest(content)) == sha256)
        {
            return content;
        }
        let mut content = sha256.as_bytes().to_vec();
        content.resize(size, b'.');
        self.insert(hex(&Sha256::digest(&content)), sha256.to_owned());
        content
    }
}

/// The bytes that a seed stands for: the digests of `SEED:0`, `SEED:1`, … one after the other.
fn recipe(seed: &str, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 32);
    let mut number = 0;
    while bytes.len() < length {
        bytes.extend_from_slice(&Sha256::digest(format!("{seed}:{number}")));
        number += 1;
    }
    bytes.truncate(length);
    bytes
}

/// Writes an archive and its companions.
pub(super) fn write(node: &Node, volid: &str, given: &ArchiveGiven, claims: &mut Claims) -> io::Result<()> {
    let (storage, name) = volid.split_once(":backup/").ok_or_else(|| io::Error::other("not a backup"))?;
    let storage = node.storage(storage).map_err(|failure| io::Error::other(failure.text))?;
    let path = node.path(&format!("{}/{name}", storage.content_folder("backup")));
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let plain = if given.kind == "lxc" { tar_archive(given, claims)? } else { vma_archive(given)? };
    let compression = given.file.get("compression").and_then(Value::as_str);
    let compression = compression.map_or(Compression::None, |name| Compression::of(&format!("x.{name}")));
    let bytes = damaged(plain, compression, given.defect.as_deref().unwrap_or_default())?;
    let (real, meant) = (bytes.len() as u64, given.file.get("size").and_then(Value::as_u64));
    claims.sizes.extend(meant.filter(|meant| *meant != real).map(|meant| (real, meant)));
    fs::write(&path, bytes)?;
    let companion = |end: &str| path.with_file_name(format!("{name}.{end}"));
    if let Some(notes) = &given.notes {
        fs::write(companion("notes"), notes)?;
    }
    if given.protected {
        fs::write(companion("protected"), "")?;
    }
    Ok(())
}

/// The bytes of the file with its defect, which strikes before or after compression.
fn damaged(plain: Vec<u8>, compression: Compression, defect: &str) -> io::Result<Vec<u8>> {
    let packed = |plain: Vec<u8>| -> io::Result<Vec<u8>> {
        let mut writer = compression.writer(Vec::new())?;
        writer.write_all(&plain)?;
        writer.finish()
    };
    let mut plain = plain;
    if defect.starts_with("header bit flipped") {
        flip(&mut plain, 4200, 0);
        return packed(plain);
    }
    if defect.starts_with("extent header bit flipped") {
        let second = extents(&plain).get(1).copied().unwrap_or_default();
        flip(&mut plain, second + 60, 0);
        return packed(plain);
    }
    if defect.starts_with("cut between extents") {
        plain.truncate(extents(&plain).last().copied().unwrap_or_default());
        return packed(plain);
    }
    if defect.starts_with("truncated at a member boundary") {
        plain.truncate(last_member(&plain));
        return packed(plain);
    }
    let mut file = packed(plain)?;
    if let Some(percent) =
        defect.strip_prefix("truncated at ").and_then(|rest| rest.split(' ').next()?.parse::<usize>().ok())
    {
        file.truncate(file.len() * percent / 100);
    } else if defect.starts_with("payload bit flipped") {
        let middle = file.len() / 2;
        flip(&mut file, middle, 4);
    } else if defect.starts_with("cut inside header") {
        file.truncate(6000);
    } else if defect.starts_with("garbage") {
        file = recipe("garbage", 50_000);
    } else if defect.starts_with("empty") {
        file.clear();
    }
    Ok(file)
}

fn flip(bytes: &mut [u8], at: usize, bit: u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << bit;
    }
}

/// Where the extents of a VMA begin.
fn extents(vma: &[u8]) -> Vec<usize> {
    let be32 = |at: usize| u32::from_be_bytes([vma[at], vma[at + 1], vma[at + 2], vma[at + 3]]) as usize;
    let mut at = be32(56);
    let mut found = Vec::new();
    while at + 512 <= vma.len() {
        found.push(at);
        let blocks = usize::from(u16::from_be_bytes([vma[at + 6], vma[at + 7]]));
        at += 512 + blocks * 4096;
    }
    found
}

/// Where the last member of a tar with content begins.
fn last_member(tar: &[u8]) -> usize {
    let mut starts = Vec::new();
    let mut at = 0;
    while at + 512 <= tar.len() && tar[at] != 0 {
        starts.push(at);
        let octal = String::from_utf8_lossy(&tar[at + 124..at + 135]).into_owned();
        let size = usize::from_str_radix(octal.trim(), 8).unwrap_or_default();
        at += 512 + size.next_multiple_of(512);
    }
    starts.last().copied().unwrap_or_default()
}

fn vma_archive(given: &ArchiveGiven) -> io::Result<Vec<u8>> {
    let config = given.config.clone().unwrap_or_default();
    let mut configs = vec![Config { name: "qemu-server.conf".into(), data: config.clone().into_bytes() }];
    if let Some(firewall) = &given.firewall {
        configs.push(Config { name: "qemu-server.fw".into(), data: firewall.clone().into_bytes() });
    }
    let mut header = Header { uuid: [7; 16], ctime: CTIME, configs, devices: Vec::new() };
    let mut disks = Vec::new();
    for (id, (key, disk)) in (1..).zip(&given.disks) {
        let size = disk.get("size").and_then(Value::as_u64).unwrap_or_default();
        let mapped = config.lines().find_map(|line| {
            line.strip_prefix(&format!("#qmdump#map:{key}:"))?.split(':').next().map(str::to_owned)
        });
        let name = mapped.unwrap_or_else(|| format!("drive-{key}"));
        header.devices.push(Device { id, name, size });
        disks.push((id, disk_content(disk, size)));
    }
    let mut writer = Writer::new(Vec::new(), &header)?;
    // The real program reads all disks at once: their clusters take turns, and the first disk is not the first.
    let longest = disks.iter().map(|(_, content)| content.len().div_ceil(CLUSTER)).max().unwrap_or_default();
    let turns = disks.len().min(1);
    disks.rotate_left(turns);
    for number in 0..longest {
        for (id, content) in &disks {
            if let Some(data) = content.chunks(CLUSTER).nth(number) {
                writer.cluster(*id, u32::try_from(number).map_err(io::Error::other)?, data)?;
            }
        }
    }
    writer.finish()
}

fn disk_content(disk: &Value, size: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
    for piece in disk.get("content").and_then(Value::as_array).into_iter().flatten() {
        let number = |key: &str| piece.get(key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
        let (Some(at), Some(length)) = (number("at"), number("length")) else { continue };
        let seed = piece.get("seed").and_then(Value::as_str).unwrap_or_default();
        bytes[at..at + length].copy_from_slice(&recipe(seed, length));
    }
    bytes
}

fn tar_archive(given: &ArchiveGiven, claims: &mut Claims) -> io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |path: &str, content: Option<&[u8]>, uid: u64| -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        let content = match content {
            Some(content) => {
                header.set_entry_type(tar::EntryType::Regular);
                header.set_mode(0o644);
                content
            }
            None => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(0o755);
                &[]
            }
        };
        header.set_size(content.len() as u64);
        header.set_uid(uid);
        header.set_gid(uid);
        header.set_mtime(CTIME.unsigned_abs());
        // `set_path` would drop the leading `./` that vzdump writes.
        let name = path.as_bytes();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_cksum();
        tar.append(&header, content)
    };
    if let Some(config) = &given.config {
        add("./etc/vzdump/pct.conf", Some(config.as_bytes()), 0)?;
        if let Some(firewall) = &given.firewall {
            add("./etc/vzdump/pct.fw", Some(firewall.as_bytes()), 0)?;
        }
    }
    add("./", None, 0)?;
    for (path, file) in &given.files {
        let text = |key: &str| file.get(key).and_then(Value::as_str);
        let number = |key: &str| file.get(key).and_then(Value::as_u64);
        if path.ends_with('/') {
            add(&format!(".{path}"), None, 0)?;
        } else {
            let content = claims.content(text("sha256").unwrap_or_default(), number("size"));
            add(&format!(".{path}"), Some(&content), number("uid").unwrap_or_default())?;
        }
    }
    // GNU tar fills its last record.
    let mut bytes = tar.into_inner()?;
    bytes.resize(bytes.len().next_multiple_of(20 * 512), 0);
    Ok(bytes)
}
