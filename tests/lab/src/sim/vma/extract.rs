//! `vma extract`: an archive becomes files, or goes to the disks of a map file.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::command::{Options, open, show};
use super::output::{Failure, Output, refused};
use super::parsed::{Blob, Entry, Parsed};
use super::reader::bitmap_words;
use super::{SECTOR, Target, random_uuid};
use crate::sim::tool::{Tool, strerror};

/// How much larger than its device a target may be.
const TARGET_SLACK: u64 = 4 << 20;

pub(super) fn extract(
    file: &str,
    directory: &str,
    options: &Options,
    tool: &mut Tool<'_>,
) -> Result<(), Failure> {
    let reader = open(file, tool.stdin, tool.map)?;
    let folder = Folder { shown: directory, path: (tool.map)(directory) };
    if let Err(error) = fs::create_dir(&folder.path) {
        return refused(format!("unable to create target directory {directory} - {}", strerror(&error)));
    }
    for config in &reader.parsed().configs {
        write_config(&folder, config)?;
    }
    let mut output = Output::new(tool.stdout);
    let outputs = match &options.map_file {
        Some(map_file) => {
            output.say(&reader.parsed().listing())?;
            mapped(reader.parsed(), &read_map(map_file, tool.map)?, &folder, tool.map)?
        }
        None => raw(reader.parsed(), options, &folder, &mut output)?,
    };
    let Outputs { targets, vmstate, renames } = outputs;
    if options.verbose {
        let totals = reader.restore_with_vmstate(targets, vmstate, Some(&mut show(&mut output)))?;
        output.print(format!("{totals}\n").as_bytes())?;
    } else {
        reader.restore_with_vmstate(targets, vmstate, None)?;
    }
    for (from, to) in renames {
        folder.rename(&from, &to)?;
    }
    output.flush()
}

/// Where everything goes: its name as it was given, and where that is.
struct Folder<'a> {
    shown: &'a str,
    path: PathBuf,
}

impl Folder<'_> {
    fn shown(&self, name: &[u8]) -> Vec<u8> {
        [self.shown.as_bytes(), b"/", name].concat()
    }

    /// The name follows a slash whatever it is: one that begins with a slash does not lead elsewhere.
    fn path(&self, name: &[u8]) -> PathBuf {
        let mut path = OsString::from(&self.path);
        path.push("/");
        path.push(OsStr::from_bytes(name));
        path.into()
    }

    fn rename(&self, from: &[u8], to: &[u8]) -> Result<(), Failure> {
        let Err(error) = fs::rename(self.path(from), self.path(to)) else { return Ok(()) };
        let (from, to, error) = (self.shown(from), self.shown(to), strerror(&error));
        refused([b"rename ", &*from, b" to ", &to, b" failed - ", error.as_bytes()].concat())
    }
}

/// Under a temporary name first, as GLib does: that is what decides which names are too long.
fn write_config(folder: &Folder<'_>, config: &Blob) -> Result<(), Failure> {
    let name = &config.name;
    if leads_outside(name) {
        // The real program follows the name out of its directory; a lab must not.
        let text = b"unable to write file: a lab does not leave its directory for ";
        return refused([text, name.as_slice()].concat());
    }
    let temporary = match temporary_name(name) {
        Ok(temporary) => temporary,
        Err(error) => return refused(format!("unable to write file: {}", strerror(&error))),
    };
    let path = folder.path(&temporary);
    let [shown, shown_name] = [&temporary, name].map(|name| displayed(&folder.shown(name)));
    let written = File::create_new(&path).map(|mut file| file.write_all(&config.data));
    match written {
        Err(error) => {
            let error = strerror(&error);
            return refused(format!("unable to write file: Failed to create file “{shown}”: {error}"));
        }
        Ok(Err(error)) => {
            let text = "unable to write file: Failed to write file";
            return refused(format!("{text} “{shown}”: write() failed: {}", strerror(&error)));
        }
        Ok(Ok(())) => {}
    }
    let Err(error) = fs::rename(&path, folder.path(name)) else { return Ok(()) };
    // What is left of it is of no use to anybody.
    drop(fs::remove_file(&path));
    refused(format!(
        "unable to write file: Failed to rename file “{shown}” to “{shown_name}”: g_rename() failed: {}",
        strerror(&error)
    ))
}

/// Whether `..` comes first, behind what leads nowhere. Behind anything else it leads nowhere either: no directory is there.
fn leads_outside(name: &[u8]) -> bool {
    let mut parts = name.split(|&byte| byte == b'/').skip_while(|part| matches!(*part, b"" | b"."));
    parts.next() == Some(b"..") && parts.next().is_some()
}

fn temporary_name(name: &[u8]) -> io::Result<Vec<u8>> {
    let letters = random_uuid()?;
    let letters = letters[..6].iter().map(|byte| b'A' + byte % 26);
    Ok(name.iter().copied().chain([b'.']).chain(letters).collect())
}

/// A file name as GLib shows it in its own messages: each byte that is no text becomes a replacement character.
fn displayed(name: &[u8]) -> String {
    let chunk =
        |chunk: std::str::Utf8Chunk<'_>| chunk.valid().to_owned() + &"\u{fffd}".repeat(chunk.invalid().len());
    name.utf8_chunks().map(chunk).collect()
}

/// Where the data goes, and which files have their names only when all of it is there.
#[derive(Default)]
struct Outputs {
    targets: BTreeMap<u8, Target<'static>>,
    vmstate: Option<File>,
    renames: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Without a map: a sparse raw file a device, under a temporary name until all is read.
fn raw(
    parsed: &Parsed,
    options: &Options,
    folder: &Folder<'_>,
    output: &mut Output<'_>,
) -> Result<Outputs, Failure> {
    let mut renames = Vec::new();
    let outputs = each_device(parsed, folder, |device| {
        if !is_wanted(device, options) {
            return Ok(Target::Skip);
        }
        let temporary = [b"tmp-disk-", device.name.as_slice(), b".raw"].concat();
        let disk = create_disk(device, &temporary, folder, output)?;
        renames.push((temporary, [b"disk-", device.name.as_slice(), b".raw"].concat()));
        Ok(Target::Write { disk: Box::new(disk), zeros: false })
    })?;
    Ok(Outputs { renames, ..outputs })
}

/// Opens everything in the order of the devices. A RAM image is a file of its own wherever the disks go.
fn each_device(
    parsed: &Parsed,
    folder: &Folder<'_>,
    mut target_of: impl FnMut(&Entry) -> Result<Target<'static>, Failure>,
) -> Result<Outputs, Failure> {
    let mut outputs = Outputs::default();
    for device in &parsed.devices {
        if device.is_vmstate() {
            outputs.vmstate = Some(vmstate_file(folder)?);
            continue;
        }
        let target = target_of(device)?;
        bitmap_words(device.size)?;
        outputs.targets.insert(device.id, target);
    }
    Ok(outputs)
}

fn is_wanted(device: &Entry, options: &Options) -> bool {
    let Some(wanted) = &options.devices else { return true };
    wanted.iter().any(|name| name.as_bytes() == device.name)
}

fn vmstate_file(folder: &Folder<'_>) -> Result<File, Failure> {
    let name = b"vmstate.bin";
    File::create_new(folder.path(name)).or_else(|error| {
        let (shown, error) = (folder.shown(name), strerror(&error));
        refused([b"create vmstate file '", &*shown, b"' failed - ", error.as_bytes()].concat())
    })
}

fn create_disk(
    device: &Entry,
    name: &[u8],
    folder: &Folder<'_>,
    output: &mut Output<'_>,
) -> Result<File, Failure> {
    let shown = folder.shown(name);
    let size = format!(" {}\n", device.size.cast_signed());
    output.print(&[b"DEVINFO ", &*shown, size.as_bytes()].concat())?;
    let cannot = |reason: &[u8]| refused([b"can't create file ", &*shown, b": ", reason].concat());
    // The largest number there is means "no size" to QEMU.
    if device.size == u64::MAX {
        return cannot(b"Image creation needs a size parameter");
    }
    let disk = match File::create(folder.path(name)) {
        Ok(disk) => disk,
        Err(error) => {
            let error = strerror(&error);
            return cannot(&[b"Could not create '", &*shown, b"': ", error.as_bytes()].concat());
        }
    };
    match resize(&disk, device.size) {
        Ok(()) => Ok(disk),
        Err(reason) => cannot(format!("Could not resize file: {reason}").as_bytes()),
    }
}

/// To whole sectors, in the 64 bits of the real program.
fn resize(disk: &File, size: u64) -> Result<(), String> {
    let size = size.wrapping_add(SECTOR - 1) / SECTOR * SECTOR;
    if size.cast_signed() < 0 {
        return Err("Invalid argument".into());
    }
    disk.set_len(size).map_err(|error| strerror(&error))
}

/// One line of a map file.
enum Mapping {
    Skip,
    Write { path: String, zeros: bool },
}

/// Reads the map up to `done`, an empty line or its end; the file is usually a fifo.
fn read_map(file: &str, map: &dyn Fn(&str) -> PathBuf) -> Result<BTreeMap<String, Mapping>, Failure> {
    let input = match File::open(map(file)) {
        Ok(input) => BufReader::new(input),
        Err(error) => return refused(format!("unable to open fifo {file} - {}", strerror(&error))),
    };
    let mut mappings = BTreeMap::new();
    for line in input.lines() {
        let line = match line {
            Ok(line) if line.is_empty() || line == "done" => break,
            Ok(line) => line,
            Err(error) => return refused(format!("read map failed - {}", strerror(&error))),
        };
        match parse_mapping(&line) {
            Some((device, mapping)) => mappings.insert(device, mapping),
            None => return refused(format!("read map failed - parse error ('{line}')")),
        };
    }
    Ok(mappings)
}

fn parse_mapping(line: &str) -> Option<(String, Mapping)> {
    if let Some(device) = line.strip_prefix("skip=") {
        return Some((device.to_owned(), Mapping::Skip));
    }
    let mut rest = line;
    // Format, throttling and cache make no difference to the bytes.
    while ["format=", "throttling.", "cache="].iter().any(|option| rest.starts_with(option)) {
        rest = rest.split_once(':')?.1;
    }
    let (zeros, rest) = match rest.split_once(':')? {
        ("0", rest) => (false, rest),
        ("1", rest) => (true, rest),
        _ => return None,
    };
    let (device, path) = rest.split_once('=')?;
    Some((device.to_owned(), Mapping::Write { path: path.to_owned(), zeros }))
}

fn mapped(
    parsed: &Parsed,
    mappings: &BTreeMap<String, Mapping>,
    folder: &Folder<'_>,
    map: &dyn Fn(&str) -> PathBuf,
) -> Result<Outputs, Failure> {
    each_device(parsed, folder, |device| {
        let mapping = std::str::from_utf8(&device.name).ok().and_then(|name| mappings.get(name));
        match mapping {
            None => refused([b"no device name mapping for ", device.name.as_slice()].concat()),
            Some(Mapping::Skip) => Ok(Target::Skip),
            Some(Mapping::Write { path, zeros }) => {
                let disk = open_disk(device, path, &map(path))?;
                Ok(Target::Write { disk: Box::new(disk), zeros: *zeros })
            }
        }
    })
}

fn open_disk(device: &Entry, shown: &str, path: &Path) -> Result<File, Failure> {
    let opened = File::options().read(true).write(true).open(path);
    let sized = opened.and_then(|mut disk| Ok((io::Seek::seek(&mut disk, io::SeekFrom::End(0))?, disk)));
    let (size, disk) = match sized {
        Ok(sized) => sized,
        Err(error) => {
            let error = strerror(&error);
            return refused(format!("can't open file {shown} - Could not open '{shown}': {error}"));
        }
    };
    if size.checked_sub(device.size).is_none_or(|more| more > TARGET_SLACK) {
        let sizes = format!(" failed - unexpected size {size} != {}", device.size.cast_signed());
        let text = b"vma_reader_register_bs for stream ";
        return refused([text, device.name.as_slice(), sizes.as_bytes()].concat());
    }
    Ok(disk)
}
