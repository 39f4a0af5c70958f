//! Which keys a host may have: `known_hosts` files as OpenSSH writes them.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use sha2::{Digest, Sha256};
use ssh2::{CheckResult, KnownHostFileKind, Session};

use super::pattern;

/// A line that speaks of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Where it stands: file and line.
    pub place: String,
    /// The file alone.
    pub file: PathBuf,
    /// `ssh-ed25519`, `ssh-rsa`, …
    pub key_type: String,
    key: Vec<u8>,
    revoked: bool,
}

/// What the files say about a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict<'a> {
    /// It is the host's key.
    Known,
    /// No file knows the host.
    Unknown,
    /// The host is known by another key.
    Changed(&'a Entry),
    /// This very key is marked as never to be trusted.
    Revoked(&'a Entry),
}

/// All that the files say about one host.
#[derive(Debug, Default)]
pub(super) struct KnownHosts(Vec<Entry>);

impl KnownHosts {
    /// Reads what `files` say about the host `name` (see [`host_name`]). Files that do not exist say nothing.
    pub(super) fn load(files: &[PathBuf], name: &str) -> io::Result<Self> {
        let mut entries = Vec::new();
        for file in files {
            let text = match fs::read(file) {
                Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    return Err(io::Error::new(error.kind(), format!("`{}`: {error}", file.display())));
                }
            };
            let lines = text.lines().enumerate();
            entries.extend(lines.filter_map(|(index, line)| parse(line, name, file, index + 1)));
        }
        Ok(Self(entries))
    }

    /// The types of the keys that the host is known by.
    pub(super) fn key_types(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|entry| !entry.revoked).map(|entry| entry.key_type.as_str())
    }

    /// Whether `key` is the host's.
    pub(super) fn check(&self, key: &[u8]) -> Verdict<'_> {
        let has_key = |entry: &&Entry| entry.key == key;
        if let Some(entry) = self.0.iter().filter(|entry| entry.revoked).find(has_key) {
            return Verdict::Revoked(entry);
        }
        let mut valid = self.0.iter().filter(|entry| !entry.revoked);
        if valid.clone().any(|entry| has_key(&entry)) {
            return Verdict::Known;
        }
        let same_type = valid.clone().find(|entry| entry.key_type == key_type(key));
        same_type.or_else(|| valid.next()).map_or(Verdict::Unknown, Verdict::Changed)
    }
}

impl Entry {
    /// The fingerprint of the key that stands there.
    pub(super) fn fingerprint(&self) -> String {
        fingerprint(&self.key)
    }
}

/// A host as `known_hosts` names it: `[address]:port` unless the port is 22.
pub(super) fn host_name(address: &str, port: u16) -> String {
    let address = address.to_lowercase();
    if port == 22 { address } else { format!("[{address}]:{port}") }
}

/// The type that an SSH public key names itself.
pub(super) fn key_type(key: &[u8]) -> String {
    let length = key.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes) as usize);
    let name = key.get(4..4 + length.min(64)).unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

/// As `ssh-keygen -l` shows it.
pub(super) fn fingerprint(key: &[u8]) -> String {
    format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(key)))
}

/// Adds a key to a file, which is made when it is not there.
pub(super) fn add(file: &Path, name: &str, key: &[u8]) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    crate::private::check_file(file)?;
    let mut file = fs::OpenOptions::new().append(true).create(true).mode(0o600).open(file)?;
    file.write_all(format!("{name} {} {}\n", key_type(key), STANDARD.encode(key)).as_bytes())
}

/// A line, if it speaks of the host. Certificate authorities are left out: libssh2 knows no certificates.
fn parse(line: &str, name: &str, file: &Path, number: usize) -> Option<Entry> {
    let mut words = line.split_whitespace().peekable();
    let revoked = words.next_if_eq(&"@revoked").is_some();
    let (hosts, key_type, key) = (words.next()?, words.next()?, words.next()?);
    if hosts.starts_with(['#', '@']) || !speaks_of(hosts, name) {
        return None;
    }
    Some(Entry {
        place: format!("line {number} of `{}`", file.display()),
        file: file.to_owned(),
        key_type: key_type.to_owned(),
        key: STANDARD.decode(key).ok()?,
        revoked,
    })
}

fn speaks_of(hosts: &str, name: &str) -> bool {
    if hosts.starts_with("|1|") {
        return is_hash_of(hosts, name).unwrap_or(false);
    }
    pattern::matches_list(hosts.split(','), name)
}

/// Whether a hashed name is `name`: libssh2 knows how. It is asked about a wrong key, so a mismatch means that the name
/// is right.
fn is_hash_of(hash: &str, name: &str) -> Result<bool, ssh2::Error> {
    let mut hosts = Session::new()?.known_hosts()?;
    hosts.read_str(&format!("{hash} ssh-rsa AAAAB3NzaC1yc2E="), KnownHostFileKind::OpenSSH)?;
    Ok(matches!(hosts.check(name, b"another key"), CheckResult::Mismatch))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two keys in the form of SSH: a type with its length in front, then more.
    fn key(kind: &str, rest: &str) -> Vec<u8> {
        [&u32::try_from(kind.len()).unwrap().to_be_bytes(), kind.as_bytes(), rest.as_bytes()].concat()
    }

    fn line(hosts: &str, key: &[u8]) -> String {
        format!("{hosts} {} {}\n", key_type(key), STANDARD.encode(key))
    }

    fn load(text: &str, name: &str) -> KnownHosts {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("known_hosts");
        fs::write(&file, text).unwrap();
        KnownHosts::load(&[folder.path().join("missing"), file], name).unwrap()
    }

    #[test]
    fn a_key_is_known_unknown_changed_or_revoked() {
        let (mine, other) = (key("ssh-ed25519", "mine"), key("ssh-ed25519", "other"));
        let text =
            format!("# comment\n\n{}@revoked {}", line("pve,192.168.1.100", &mine), line("pve", &other));
        let hosts = load(&text, "pve");
        assert_eq!(hosts.check(&mine), Verdict::Known);
        assert_eq!(load(&text, "192.168.1.100").check(&mine), Verdict::Known);
        assert_eq!(load(&text, "192.168.1.1").check(&mine), Verdict::Unknown);
        assert!(matches!(hosts.check(&other), Verdict::Revoked(_)));
        let Verdict::Changed(entry) = hosts.check(&key("ssh-ed25519", "third")) else { panic!() };
        assert!(entry.place.starts_with("line 3 of `"), "{}", entry.place);
        assert_eq!(entry.fingerprint(), fingerprint(&mine));
    }

    #[test]
    fn a_host_known_by_another_type_of_key_is_not_unknown() {
        let hosts = load(&line("pve", &key("ssh-rsa", "mine")), "pve");
        assert_eq!(hosts.key_types().collect::<Vec<_>>(), ["ssh-rsa"]);
        assert!(matches!(hosts.check(&key("ssh-ed25519", "new")), Verdict::Changed(_)));
    }

    /// The hash was made by `ssh-keygen -H`.
    #[test]
    fn hashed_names_are_recognised() {
        let mine = key("ssh-ed25519", "mine");
        let text = line(HASHED, &mine);
        assert_eq!(load(&text, "[pve.example]:2222").check(&mine), Verdict::Known);
        assert_eq!(load(&text, "pve.example").check(&mine), Verdict::Unknown);
    }

    const HASHED: &str = "|1|WvDFMxR5C6qRfrHrN3yYz9YDyHI=|g8YLufWeYs3CmooToMNvZlTFD4Y=";

    #[test]
    fn patterns_and_ports_decide_who_is_meant() {
        let mine = key("ssh-ed25519", "mine");
        let text = line("*.example,!bad.example,[10.0.0.?]:2222", &mine);
        for (name, known) in [
            ("pve.example", true),
            ("bad.example", false),
            ("[10.0.0.7]:2222", true),
            ("10.0.0.7", false),
            ("[10.0.0.7]:22", false),
        ] {
            assert_eq!(load(&text, name).check(&mine) == Verdict::Known, known, "{name}");
        }
        assert_eq!(host_name("PVE", 22), "pve");
        assert_eq!(host_name("fe80::1", 2222), "[fe80::1]:2222");
    }

    #[test]
    fn an_added_key_is_known_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new/known_hosts");
        let mine = key("ssh-ed25519", "mine");
        add(&file, "[pve]:2222", &mine).unwrap();
        assert_eq!(KnownHosts::load(&[file], "[pve]:2222").unwrap().check(&mine), Verdict::Known);
    }
}
