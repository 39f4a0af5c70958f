//! Writes the archive of one guest, compressed, into its file.

use std::io::{self, BufWriter, Read, Write};

use regex::bytes::Regex;

use super::text::Meter;
use super::tree::{Mount, TreeWriter};
use crate::sim::compress::Compression;
use crate::sim::vma::{Config, Device, Header, write_disks};

/// A disk to be read.
pub(super) struct Source {
    /// Device name inside the archive.
    pub(super) device: String,
    /// In bytes.
    pub(super) size: u64,
    pub(super) input: Box<dyn Read>,
}

/// Writes a VMA archive; `say` is told the lines about its progress.
pub(super) fn write_vm(
    output: impl Write,
    compression: Compression,
    (uuid, ctime): ([u8; 16], i64),
    configs: Vec<Config>,
    sources: Vec<Source>,
    say: &mut dyn FnMut(String),
) -> io::Result<()> {
    let mut header = Header { uuid, ctime, configs, devices: Vec::new() };
    let mut inputs = Vec::new();
    for (id, Source { device, size, input }) in (1..).zip(sources) {
        header.devices.push(Device { id, name: device, size });
        inputs.push(input);
    }
    let compressor = compression.writer(BufWriter::new(output))?;
    let mut meter = Meter::new(header.devices.iter().map(|device| device.size).sum());
    let (compressor, zeros) = write_disks(compressor, &header, &mut inputs, &mut |done, zeros| {
        if let Some(line) = meter.line(done, zeros) {
            say(line);
        }
    })?;
    compressor.finish()?;
    if !inputs.is_empty() {
        meter.summary(zeros.iter().sum()).into_iter().for_each(say);
    }
    Ok(())
}

/// Writes the tar archive of a container; gives the length of the tar stream.
pub(super) fn write_container(
    output: impl Write,
    compression: Compression,
    (config, firewall): (&str, &str),
    mounts: &[Mount],
    excluded: Vec<Regex>,
) -> io::Result<u64> {
    let compressor = compression.writer(BufWriter::new(output))?;
    let mut writer = TreeWriter::new(compressor, config, firewall, excluded)?;
    writer.mounts(mounts)?;
    let (compressor, bytes) = writer.finish()?;
    compressor.finish()?;
    Ok(bytes)
}
