//! The `vma` program: `list`, `config`, `verify`, `extract`, `create`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{Config, Device, Error, Header, Reader, SECTOR, Target, VMSTATE, random_uuid, write_disks};
use crate::sim::clock;
use crate::sim::tool::{SIGPIPE_STATUS, Tool, open_input, strerror};

const USAGE: &str = "\
usage: vma command [command options]

vma list <filename>
vma config <filename> [-c config]
vma create <filename> [-c config] pathname ...
vma extract <filename> [-d <drive-list>] [-r <fifo>] <targetdir>
vma verify <filename> [-v]
";
/// How much larger than its device a target may be.
const TARGET_SLACK: u64 = 4 << 20;

/// Runs `vma` with the words after its name and gives the exit status a shell sees.
pub fn main(args: &[String], tool: &mut Tool<'_>) -> i32 {
    let Some((command, rest)) = args.split_first() else { return usage(tool) };
    let Some(options) = Options::parse(command, rest) else { return usage(tool) };
    let (verb, done) = match (command.as_str(), options.words.as_slice()) {
        ("list", [file]) => ("list", list(file, tool)),
        ("config", [file]) => return config(file, &options, tool),
        ("verify", [file]) => ("verify", verify(file, &options, tool)),
        ("extract", [file, directory]) => ("restore", extract(file, directory, &options, tool)),
        ("create", [file, disks @ ..]) => ("create", create(file, disks, &options, tool)),
        _ => return usage(tool),
    };
    match done {
        Ok(()) => 0,
        Err(failure) => failed(&failure, verb, tool),
    }
}

/// How a command ends early.
enum Failure {
    Vma(Error),
    /// Nobody reads standard output any more.
    Sigpipe,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Vma(error)
    }
}

fn refused<T>(text: String) -> Result<T, Failure> {
    Err(Failure::Vma(Error::Refused(text)))
}

fn failed(failure: &Failure, verb: &str, tool: &mut Tool<'_>) -> i32 {
    let Failure::Vma(error) = failure else { return SIGPIPE_STATUS };
    if let Some(line) = error.line(verb) {
        tool.complain(&line);
    }
    error.status()
}

fn usage(tool: &mut Tool<'_>) -> i32 {
    // Whether anyone reads the usage text does not change how this ends.
    drop(tool.stdout.write_all(USAGE.as_bytes()));
    1
}

#[derive(Default)]
struct Options {
    verbose: bool,
    devices: Option<Vec<String>>,
    map_file: Option<String>,
    configs: Vec<String>,
    words: Vec<String>,
}

impl Options {
    /// Options and words in any order, as getopt takes them; nothing when one is unknown or lacks its value.
    fn parse(command: &str, args: &[String]) -> Option<Self> {
        let mut options = Self::default();
        let mut args = args.iter();
        while let Some(word) = args.next() {
            match (command, word.as_str()) {
                ("verify" | "extract" | "create", "-v") => options.verbose = true,
                ("extract", "-d") => {
                    options.devices = Some(args.next()?.split(',').map(str::to_owned).collect());
                }
                ("extract", "-r") => options.map_file = Some(args.next()?.clone()),
                ("config" | "create", "-c") => options.configs.push(args.next()?.clone()),
                (_, "--") => options.words.extend(args.by_ref().cloned()),
                (_, option) if option.starts_with('-') && option != "-" => return None,
                (_, word) => options.words.push(word.to_owned()),
            }
        }
        Some(options)
    }
}

fn open<'t>(
    file: &str,
    stdin: &'t mut dyn Read,
    map: &dyn Fn(&str) -> PathBuf,
) -> Result<Reader<Box<dyn Read + 't>>, Error> {
    let input = open_input(file, stdin, map)
        .map_err(|error| Error::Refused(format!("can't open file {file} - {}", strerror(&error))))?;
    Reader::open(input)
}

/// Prints at once: whoever watches a restore waits for each line.
fn say(stdout: &mut dyn Write, text: &str) -> Result<(), Failure> {
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).map_err(|_| Failure::Sigpipe)
}

fn list(file: &str, tool: &mut Tool<'_>) -> Result<(), Failure> {
    let reader = open(file, tool.stdin, tool.map)?;
    say(tool.stdout, &reader.header().listing().join("\n"))
}

fn config(file: &str, options: &Options, tool: &mut Tool<'_>) -> i32 {
    let name = options.configs.last().map_or("qemu-server.conf", String::as_str);
    let header = open(file, tool.stdin, tool.map).map(|reader| reader.header().clone());
    let header = match header {
        Ok(header) => header,
        Err(error) => return failed(&Failure::Vma(error), "config", tool),
    };
    let Some(data) = header.config(name) else {
        tool.complain(&format!("unable to find configuration data '{name}'"));
        return 255;
    };
    match tool.stdout.write_all(data) {
        Ok(()) => 0,
        Err(_) => SIGPIPE_STATUS,
    }
}

fn verify(file: &str, options: &Options, tool: &mut Tool<'_>) -> Result<(), Failure> {
    let reader = open(file, tool.stdin, tool.map)?;
    if !options.verbose {
        reader.verify(None)?;
        return Ok(());
    }
    let stdout = &mut *tool.stdout;
    say(stdout, &reader.header().listing().join("\n"))?;
    // A progress line that nobody reads is no reason to stop; the last line will tell.
    let totals = reader.verify(Some(&mut |progress| drop(say(stdout, &progress.to_string()))))?;
    say(tool.stdout, &totals.to_string())
}

fn extract(file: &str, directory: &str, options: &Options, tool: &mut Tool<'_>) -> Result<(), Failure> {
    let reader = open(file, tool.stdin, tool.map)?;
    let header = reader.header().clone();
    let target = (tool.map)(directory);
    if let Err(error) = fs::create_dir(&target) {
        return refused(format!("unable to create target directory {directory} - {}", strerror(&error)));
    }
    write_configs(&header, &target)?;
    let stdout = &mut *tool.stdout;
    let (targets, renames) = match &options.map_file {
        Some(map_file) => {
            say(stdout, &header.listing().join("\n"))?;
            (mapped_targets(&header, &read_map(map_file, tool.map)?, &target, tool.map)?, Vec::new())
        }
        None => raw_targets(&header, options, directory, &target, stdout)?,
    };
    let totals = if options.verbose {
        Some(reader.restore(targets, Some(&mut |progress| drop(say(stdout, &progress.to_string()))))?)
    } else {
        reader.restore(targets, None)?;
        None
    };
    for (temporary, name) in renames {
        if let Err(error) = fs::rename(&temporary, &name) {
            return refused(format!("rename {} failed - {}", temporary.display(), strerror(&error)));
        }
    }
    totals.map_or(Ok(()), |totals| say(tool.stdout, &totals.to_string()))
}

fn write_configs(header: &Header, target: &Path) -> Result<(), Failure> {
    for config in &header.configs {
        // The real program would follow a name out of its directory; a lab must not.
        let path = match Path::new(&config.name).file_name() {
            Some(name) if name == config.name.as_str() => target.join(name),
            _ => return refused(format!("unable to create config file {}", config.name)),
        };
        if let Err(error) = fs::write(&path, &config.data) {
            return refused(format!("unable to create config file {} - {}", config.name, strerror(&error)));
        }
    }
    Ok(())
}

type Targets = BTreeMap<u8, Target<'static>>;
type Renames = Vec<(PathBuf, PathBuf)>;

/// Without a map: a sparse raw file a device, under a temporary name until all is read.
fn raw_targets(
    header: &Header,
    options: &Options,
    directory: &str,
    target: &Path,
    stdout: &mut dyn Write,
) -> Result<(Targets, Renames), Failure> {
    let mut targets = Targets::new();
    let mut renames = Renames::new();
    for device in &header.devices {
        let name = &device.name;
        if name == VMSTATE {
            targets.insert(device.id, vmstate_target(target)?);
            continue;
        }
        if options.devices.as_ref().is_some_and(|wanted| !wanted.contains(name)) {
            targets.insert(device.id, Target::Skip);
            continue;
        }
        let temporary = target.join(format!("tmp-disk-{name}.raw"));
        say(stdout, &format!("DEVINFO {directory}/tmp-disk-{name}.raw {}", device.size))?;
        let disk = File::create(&temporary).and_then(|disk| {
            disk.set_len(device.size.next_multiple_of(SECTOR))?;
            Ok(disk)
        });
        match disk {
            Ok(disk) => targets.insert(device.id, Target::Write { disk: Box::new(disk), zeros: false }),
            Err(error) => {
                return refused(format!("can't create file {} - {}", temporary.display(), strerror(&error)));
            }
        };
        renames.push((temporary, target.join(format!("disk-{name}.raw"))));
    }
    Ok((targets, renames))
}

fn vmstate_target(target: &Path) -> Result<Target<'static>, Failure> {
    match File::create(target.join("vmstate.bin")) {
        Ok(file) => Ok(Target::Write { disk: Box::new(file), zeros: true }),
        Err(error) => refused(format!("create vmstate file failed - {}", strerror(&error))),
    }
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

fn mapped_targets(
    header: &Header,
    mappings: &BTreeMap<String, Mapping>,
    target: &Path,
    map: &dyn Fn(&str) -> PathBuf,
) -> Result<Targets, Failure> {
    let mut targets = Targets::new();
    for device in &header.devices {
        if device.name == VMSTATE {
            targets.insert(device.id, vmstate_target(target)?);
            continue;
        }
        let chosen = match mappings.get(&device.name) {
            None => return refused(format!("no device name mapping for {}", device.name)),
            Some(Mapping::Skip) => Target::Skip,
            Some(Mapping::Write { path, zeros }) => {
                Target::Write { disk: Box::new(open_disk(device, path, &map(path))?), zeros: *zeros }
            }
        };
        targets.insert(device.id, chosen);
    }
    Ok(targets)
}

fn open_disk(device: &Device, shown: &str, path: &Path) -> Result<File, Failure> {
    let opened = File::options().read(true).write(true).open(path);
    let sized = opened.and_then(|mut disk| Ok((io::Seek::seek(&mut disk, io::SeekFrom::End(0))?, disk)));
    let (size, disk) = match sized {
        Ok(sized) => sized,
        Err(error) => {
            return refused(format!(
                "can't open file {shown} - Could not open '{shown}': {}",
                strerror(&error)
            ));
        }
    };
    if !(device.size..=device.size + TARGET_SLACK).contains(&size) {
        return refused(format!(
            "vma_reader_register_bs for stream {} failed - unexpected size {size} != {}",
            device.name, device.size
        ));
    }
    Ok(disk)
}

fn create(file: &str, disks: &[String], options: &Options, tool: &mut Tool<'_>) -> Result<(), Failure> {
    let uuid = match random_uuid() {
        Ok(uuid) => uuid,
        Err(error) => return refused(format!("can't make a uuid - {}", strerror(&error))),
    };
    let mut header = Header { uuid, ctime: clock::now(), configs: Vec::new(), devices: Vec::new() };
    for path in &options.configs {
        match fs::read((tool.map)(path)) {
            Ok(data) => header.configs.push(Config { name: base_name(path), data }),
            Err(error) => return refused(format!("can't read config {path} - {}", strerror(&error))),
        }
    }
    let mut inputs: Vec<Box<dyn Read>> = Vec::new();
    for (id, disk) in (1..=254).zip(disks) {
        let (name, path) = match disk.split_once('=') {
            Some((name, path)) => (name.to_owned(), path),
            None => (format!("disk{}", id - 1), disk.as_str()),
        };
        let opened = File::open((tool.map)(path)).and_then(|input| Ok((input.metadata()?.len(), input)));
        match opened {
            Ok((size, input)) => {
                header.devices.push(Device { id, name, size: size.next_multiple_of(SECTOR) });
                inputs.push(Box::new(input));
            }
            Err(error) => return refused(format!("can't open file {path} - {}", strerror(&error))),
        }
    }
    let written = open_archive(file, tool)
        .and_then(|output| write_disks(BufWriter::new(output), &header, &mut inputs, &mut |_, _| ()));
    let zeros = match written.map(|(_, zeros)| zeros) {
        Ok(zeros) => zeros,
        Err(error) => return refused(format!("can't create archive {file} - {}", strerror(&error))),
    };
    if options.verbose {
        for (Device { name, size, .. }, zeros) in header.devices.iter().zip(zeros) {
            say(tool.stdout, &format!("image {name}: size={size} zeros={zeros} saved={}", size - zeros))?;
        }
    }
    Ok(())
}

fn open_archive<'t>(file: &str, tool: &'t mut Tool<'_>) -> io::Result<Box<dyn Write + 't>> {
    if file == "-" || file == "/dev/stdout" {
        return Ok(Box::new(&mut *tool.stdout));
    }
    let created = File::options().write(true).create_new(true).mode(0o640).open((tool.map)(file))?;
    Ok(Box::new(created))
}

fn base_name(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_owned()
}
