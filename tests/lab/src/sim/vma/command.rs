//! The `vma` program: `list`, `config`, `verify`, `extract`, `create`.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use super::extract::extract;
use super::output::{Failure, Output, refused};
use super::{Config, Device, Error, Header, Progress, Reader, SECTOR, random_uuid, write_disks};
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

fn failed(failure: &Failure, verb: &str, tool: &mut Tool<'_>) -> i32 {
    let Failure::Vma(error) = failure else { return SIGPIPE_STATUS };
    if let Some(line) = error.message(verb) {
        // Nobody who has gone away changes how this ends.
        drop(tool.stderr.write_all(&[line.as_slice(), b"\n"].concat()));
    }
    error.status()
}

fn usage(tool: &mut Tool<'_>) -> i32 {
    // Whether anyone reads the usage text does not change how this ends.
    drop(tool.stdout.write_all(USAGE.as_bytes()));
    1
}

#[derive(Default)]
pub(super) struct Options {
    pub(super) verbose: bool,
    pub(super) devices: Option<Vec<String>>,
    pub(super) map_file: Option<String>,
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

pub(super) fn open<'t>(
    file: &str,
    stdin: &'t mut dyn Read,
    map: &dyn Fn(&str) -> PathBuf,
) -> Result<Reader<Box<dyn Read + 't>>, Error> {
    let input = open_input(file, stdin, map)
        .map_err(|error| Error::Refused(format!("can't open file {file} - {}", strerror(&error)).into()))?;
    Reader::open(input)
}

fn list(file: &str, tool: &mut Tool<'_>) -> Result<(), Failure> {
    let reader = open(file, tool.stdin, tool.map)?;
    Output::new(tool.stdout).say(&reader.parsed().listing())
}

fn config(file: &str, options: &Options, tool: &mut Tool<'_>) -> i32 {
    let name = options.configs.last().map_or("qemu-server.conf", String::as_str);
    let data = open(file, tool.stdin, tool.map).map(|reader| {
        let found = reader.parsed().configs.iter().find(|config| config.name == name.as_bytes());
        found.map(|config| config.data.clone())
    });
    let data = match data {
        Ok(Some(data)) => data,
        Ok(None) => {
            tool.complain(&format!("unable to find configuration data '{name}'"));
            return 255;
        }
        Err(error) => return failed(&Failure::Vma(error), "config", tool),
    };
    match tool.stdout.write_all(&data) {
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
    let mut output = Output::new(tool.stdout);
    output.say(&reader.parsed().listing())?;
    let totals = reader.verify(Some(&mut show(&mut output)))?;
    output.say(format!("{totals}\n").as_bytes())
}

/// A progress line that nobody reads is no reason to stop; the last line will tell.
pub(super) fn show(output: &mut Output<'_>) -> impl FnMut(Progress) {
    move |progress| drop(output.say(format!("{progress}\n").as_bytes()))
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
            let saved = size - zeros;
            let line = format!("image {name}: size={size} zeros={zeros} saved={saved}\n");
            Output::new(tool.stdout).say(line.as_bytes())?;
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
