//! The archive of a container.

use std::fs::File;
use std::io::{self, Read};

use crate::sim::backup_server::{ROOT, Snapshot};
use crate::sim::compress::{Compression, Pipe, ToolError};
use crate::sim::node::Task;
use crate::sim::{Failure, GuestKind, Node, Outcome};

/// An archive on the node.
pub(super) struct Archive {
    /// Its path on the node.
    pub(super) path: String,
    pub(super) compression: Compression,
    /// For a backup on a Proxmox Backup Server, whose client unpacks it instead of tar.
    pub(super) snapshot: Option<Snapshot>,
}

/// What describes the container.
pub(super) struct Inside {
    pub(super) config: String,
    pub(super) firewall: Option<String>,
}

const NO_CONFIG: &str = "ERROR: archive contains no configuration file";

impl Archive {
    /// What can be said of the name alone: the storage is known, and its content is backups.
    pub(super) fn check_name(node: &Node, name: &str) -> Outcome {
        if name.starts_with('/') || !name.contains(':') {
            return Ok(());
        }
        let (storage, file) = name.split_once(':').unwrap_or_default();
        node.storage(storage)?;
        if !file.starts_with("backup/") {
            return Err(Failure::new(format!(
                "unable to use volume {name} - content type needs to be 'backup'"
            )));
        }
        Ok(())
    }

    /// Finds it by volume id or path.
    pub(super) fn find(node: &Node, name: &str) -> Outcome<Self> {
        if let Some(snapshot) = node.snapshot(name)? {
            let path = format!("{}/{ROOT}", snapshot.folder);
            return Ok(Self { path, compression: Compression::None, snapshot: Some(snapshot) });
        }
        let (path, missing) = if name.starts_with('/') {
            (name.to_owned(), format!("can't find file '{name}'"))
        } else {
            let place = node.place(name)?;
            node.usable_storage(&place.storage.id)?;
            (place.path, format!("volume '{name}' does not exist"))
        };
        if !node.path(&path).is_file() {
            return Err(Failure::new(missing));
        }
        let compression = match path.rsplit_once('.') {
            Some((_, "tgz")) => Compression::Gzip,
            _ => Compression::of(&path),
        };
        Ok(Self { path, compression, snapshot: None })
    }

    /// The decompressed bytes; a failure of the decompressor looks like the end.
    pub(super) fn open(&self, node: &Node) -> io::Result<Pipe<Box<dyn Read>>> {
        if let Some(snapshot) = &self.snapshot {
            return Ok(Pipe::new(Box::new(snapshot.open(node, ROOT)?)));
        }
        let file = File::open(node.path(&self.path))?;
        Ok(Pipe::new(self.compression.reader(file, &self.name_for_tools())?))
    }

    /// GNU tar feeds its decompressor from a pipe.
    fn name_for_tools(&self) -> String {
        match self.compression {
            Compression::Zstd => "/*stdin*\\".to_owned(),
            Compression::Gzip => "stdin".to_owned(),
            Compression::Lzo => "<stdin>".to_owned(),
            Compression::None | Compression::Bzip2 => self.path.clone(),
        }
    }

    /// Reads the configuration, which is among the first members.
    pub(super) fn read_config(&self, node: &Node, task: &mut Task<'_>) -> Outcome<Inside> {
        if let Some(snapshot) = &self.snapshot {
            snapshot.require(GuestKind::Ct)?;
            return Ok(Inside { config: snapshot.config(node)?, firewall: snapshot.firewall(node) });
        }
        let mut pipe = self.open(node)?;
        let (config, firewall) = members(&mut pipe);
        if let Some(failure) = pipe.failure() {
            task.line(&words(failure))?;
            if config.is_none() {
                task.line("tar: Child returned status 1")?;
                task.line("tar: Error is not recoverable: exiting now")?;
            }
        }
        match config {
            Some(config) => Ok(Inside { config, firewall }),
            None => Err(Failure::new(NO_CONFIG)),
        }
    }

    /// The option by which tar learns of the compression.
    pub(super) fn tar_option(&self) -> Option<&'static str> {
        match self.compression {
            Compression::None => None,
            Compression::Zstd => Some("--zstd"),
            Compression::Gzip => Some("-z"),
            Compression::Lzo => Some("--lzop"),
            Compression::Bzip2 => Some("-j"),
        }
    }
}

/// The two files that describe a container.
fn members(input: &mut impl Read) -> (Option<String>, Option<String>) {
    let (mut config, mut firewall) = (None, None);
    let mut tar = tar::Archive::new(input);
    let Ok(entries) = tar.entries() else { return (None, None) };
    for entry in entries {
        let Ok(mut entry) = entry else { break };
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let slot = match name.as_str() {
            "./etc/vzdump/pct.conf" => &mut config,
            "./etc/vzdump/pct.fw" => &mut firewall,
            _ if config.is_some() => break,
            _ => continue,
        };
        let mut text = String::new();
        if entry.read_to_string(&mut text).is_err() || text.len() as u64 != entry.size() {
            break;
        }
        *slot = Some(text);
    }
    (config, firewall)
}

/// The words of a decompressor that gave up.
pub(super) fn words(failure: &io::Error) -> String {
    ToolError::of(failure).map_or_else(|| failure.to_string(), |error| error.line.clone())
}
