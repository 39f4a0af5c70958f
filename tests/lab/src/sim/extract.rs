//! The configuration inside a backup, as `pvesm extractconfig` gets it out.

use std::fs::File;
use std::io::{self, Read};

use super::compress::{Compression, LZOP_STDIN, Pipe, ToolError, ZSTD_STDIN};
use super::content::BackupName;
use super::vma::Reader;
use super::{Failure, Node, Outcome};

/// The members of a container archive that can hold its configuration.
const CONTAINER_CONFIGS: [&str; 2] = ["./etc/vzdump/pct.conf", "./etc/vzdump/vps.conf"];

impl Node {
    /// The configuration stored in a backup.
    pub(super) fn stored_config(&self, volid: &str) -> Outcome<String> {
        let place = self.place(volid)?;
        let Some(file) = place.name.strip_prefix("backup/") else {
            return Err(Failure::new(format!(
                "unable to use volume {volid} - content type needs to be 'backup'"
            )));
        };
        self.usable_storage(&place.storage.id)?;
        if let Some(snapshot) = self.snapshot(volid)? {
            return snapshot.config(self);
        }
        let Ok(archive) = File::open(self.path(&place.path)) else {
            return Err(Failure::with_status(format!("volume '{volid}' does not exist"), 2));
        };
        let compression = Compression::of(file);
        match BackupName::parse(file) {
            None => {
                let path = &place.path;
                let text = format!("ERROR: couldn't determine archive info from '{path}'");
                Err(Failure::with_status(text, 2))
            }
            Some(name) if name.kind == "qemu" => of_vm(archive, compression, &place.path),
            Some(_) => of_container(archive, compression),
        }
    }
}

fn of_vm(archive: File, compression: Compression, path: &str) -> Outcome<String> {
    let mut pipe = Pipe::new(compression.reader(archive, path)?);
    let error = match Reader::open(&mut pipe) {
        Ok(reader) => {
            let config = reader.header().config("qemu-server.conf").unwrap_or_default();
            return Ok(String::from_utf8_lossy(config).into_owned());
        }
        Err(error) => error,
    };
    let line = error.line("config").unwrap_or_default();
    if compression == Compression::None {
        let signal = error.status() - 128;
        return Err(Failure::new(format!("{line}\ncommand 'vma config {path}' failed: got signal {signal}")));
    }
    let first = pipe.failure().map_or(line, tool_line);
    let text = format!("Failed to extract config from VMA archive: {first}\n\n");
    Err(Failure::with_status(text, error.status()))
}

fn of_container(archive: File, compression: Compression) -> Outcome<String> {
    let name = match compression {
        Compression::Zstd => ZSTD_STDIN,
        Compression::Lzo => LZOP_STDIN,
        _ => "stdin",
    };
    let mut counted = Counted { input: Pipe::new(compression.reader(archive, name)?), read: 0 };
    let mut complaints = Vec::new();
    match find_config(&mut counted) {
        Ok(Some(config)) => return Ok(config),
        Ok(None) => {}
        Err(_) if counted.read > 0 => complaints.push("tar: Unexpected EOF in archive".to_owned()),
        Err(_) => {}
    }
    if let Some(failure) = counted.input.failure() {
        complaints.insert(0, tool_line(failure));
        if counted.read == 0 {
            complaints.push("tar: Child returned status 1".into());
        }
    }
    if !complaints.is_empty() {
        complaints.push("tar: Error is not recoverable: exiting now".into());
    }
    complaints.push("ERROR: archive contains no configuration file".into());
    Err(Failure::with_status(complaints.join("\n"), 10))
}

fn find_config(input: &mut impl Read) -> io::Result<Option<String>> {
    let mut archive = tar::Archive::new(input);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if CONTAINER_CONFIGS.contains(&name.as_str()) {
            let mut text = String::new();
            entry.read_to_string(&mut text)?;
            return Ok(Some(text));
        }
    }
    Ok(None)
}

fn tool_line(error: &io::Error) -> String {
    ToolError::of(error).map_or_else(|| error.to_string(), |tool| tool.line.clone())
}

/// Counts what comes through, to tell an archive that broke off from one that never began.
struct Counted<R> {
    input: R,
    read: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.read += read as u64;
        Ok(read)
    }
}
