//! `zstd` and `lzop` as commands of a node.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use super::{Compression, LZOP_STDIN, ToolError, ZSTD_STDIN};
use crate::sim::tool::{SIGPIPE_STATUS, Tool, is_stdin, open_input, strerror};

/// Runs `zstd` with the words after its name.
pub fn zstd_main(args: &[String], tool: &mut Tool<'_>) -> i32 {
    ZSTD.main(args, tool)
}

/// Runs `lzop` with the words after its name.
pub fn lzop_main(args: &[String], tool: &mut Tool<'_>) -> i32 {
    LZOP.main(args, tool)
}

/// What differs between the two tools.
struct Program {
    name: &'static str,
    compression: Compression,
    /// What the tool calls its standard input.
    stdin_name: &'static str,
    /// Status when nobody reads the output: `zstd` is killed by the signal, `lzop` reports an error.
    broken_pipe: i32,
    version: &'static str,
    usage: &'static str,
    /// Long options without value that change nothing here.
    ignored: &'static [&'static str],
}

const ZSTD: Program = Program {
    name: "zstd",
    compression: Compression::Zstd,
    stdin_name: ZSTD_STDIN,
    broken_pipe: SIGPIPE_STATUS,
    version: "*** Zstandard CLI (64-bit) v1.5.4, by Yann Collet ***",
    usage: "Usage: zstd [OPTIONS...] [INPUT... | -] [-o OUTPUT]",
    ignored: &["--check", "--no-progress", "--rsyncable", "--single-thread", "--sparse", "--no-sparse"],
};

const LZOP: Program = Program {
    name: "lzop",
    compression: Compression::Lzo,
    stdin_name: LZOP_STDIN,
    broken_pipe: 1,
    version: "lzop 1.04",
    usage: "usage: lzop [-dxlthIVL19] [-qvcfFnNkPU] [-o file] [-p[path]] [-S suffix] [file..]",
    ignored: &["--crc32", "--fast", "--best"],
};

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Compress,
    Decompress,
    Test,
    Version,
}

struct Options {
    mode: Mode,
    quiet: bool,
    force: bool,
    remove: bool,
    to_stdout: bool,
    output: Option<String>,
    files: Vec<String>,
}

/// How one file failed: the line, and the exit status.
struct Failure(String, i32);

impl Program {
    fn main(&self, args: &[String], tool: &mut Tool<'_>) -> i32 {
        let Some(mut options) = self.parse(args) else {
            tool.complain("Incorrect parameters ");
            tool.complain(self.usage);
            return 1;
        };
        if options.mode == Mode::Version {
            drop(writeln!(tool.stdout, "{}", self.version));
            return 0;
        }
        if options.files.is_empty() {
            options.files.push("-".into());
        }
        let mut status = 0;
        for file in &options.files {
            if let Err(Failure(line, code)) = self.file(file, &options, tool) {
                status = code;
                if !line.is_empty() {
                    tool.complain(&line);
                }
            }
        }
        status
    }

    fn parse(&self, args: &[String]) -> Option<Options> {
        let mut options = Options {
            mode: Mode::Compress,
            quiet: false,
            force: false,
            remove: false,
            to_stdout: false,
            output: None,
            files: Vec::new(),
        };
        let mut args = args.iter();
        while let Some(word) = args.next() {
            match word.as_str() {
                "--" => options.files.extend(args.by_ref().cloned()),
                "-" => options.files.push(word.clone()),
                long if long.starts_with("--") => self.long_option(long, &mut options)?,
                short if short.starts_with('-') => {
                    self.short_options(&short[1..], &mut args, &mut options)?;
                }
                file => options.files.push(file.to_owned()),
            }
        }
        Some(options)
    }

    fn long_option(&self, word: &str, options: &mut Options) -> Option<()> {
        match word {
            "--decompress" | "--uncompress" => options.mode = Mode::Decompress,
            "--test" => options.mode = Mode::Test,
            "--version" => options.mode = Mode::Version,
            "--stdout" => options.to_stdout = true,
            "--quiet" | "--silent" => options.quiet = true,
            "--verbose" => options.quiet = false,
            "--force" => options.force = true,
            "--keep" => options.remove = false,
            "--rm" if self.name == "zstd" => options.remove = true,
            threads if self.name == "zstd" && threads.starts_with("--threads=") => {
                threads["--threads=".len()..].parse::<u32>().ok()?;
            }
            other if self.ignored.contains(&other) => {}
            _ => return None,
        }
        Some(())
    }

    /// Letters may stand together; a number is a level, and the value of `-T` and `-o` may follow directly.
    fn short_options<'w>(
        &self,
        letters: &str,
        args: &mut impl Iterator<Item = &'w String>,
        options: &mut Options,
    ) -> Option<()> {
        let mut rest = letters;
        while let Some(letter) = rest.chars().next() {
            rest = &rest[letter.len_utf8()..];
            match letter {
                'd' => options.mode = Mode::Decompress,
                'x' if self.name == "lzop" => options.mode = Mode::Decompress,
                't' => options.mode = Mode::Test,
                'V' => options.mode = Mode::Version,
                'c' => options.to_stdout = true,
                'q' => options.quiet = true,
                'v' => options.quiet = false,
                'f' => options.force = true,
                'k' => options.remove = false,
                'U' if self.name == "lzop" => options.remove = true,
                '0'..='9' => {}
                'T' if self.name == "zstd" => {
                    let digits = rest.chars().take_while(char::is_ascii_digit).count();
                    rest = if digits == 0 {
                        args.next().filter(|n| n.parse::<u32>().is_ok()).map(|_| "")?
                    } else {
                        &rest[digits..]
                    };
                }
                'o' => {
                    let value = if rest.is_empty() { args.next()?.clone() } else { rest.to_owned() };
                    options.output = Some(value);
                    rest = "";
                }
                _ => return None,
            }
        }
        Some(())
    }

    fn file(&self, file: &str, options: &Options, tool: &mut Tool<'_>) -> Result<(), Failure> {
        let name = if is_stdin(file) { self.stdin_name } else { file };
        let destination = self.destination(file, options)?;
        if !is_stdin(file) && !(tool.map)(file).is_file() {
            return Err(Failure(self.not_found(file), 1));
        }
        match destination {
            Destination::Nothing => {
                let bytes = self.copy(tool, file, name, options, |_| Ok(io::sink()))?;
                if self.name == "zstd" && !options.quiet {
                    tool.complain(&format!("{name}: {bytes} bytes "));
                }
                return Ok(());
            }
            Destination::Stdout => {
                self.copy_to_stdout(tool, file, name, options)?;
            }
            Destination::File(output) => {
                let path = (tool.map)(&output);
                self.may_write(&output, &path, options)?;
                let written = self.copy(tool, file, name, options, |_| File::create(&path));
                if written.is_err() && self.name == "zstd" {
                    // It removes a half-written output, which may not exist at all; lzop leaves it.
                    drop(fs::remove_file(&path));
                }
                written?;
            }
        }
        if options.remove && !is_stdin(file) {
            let removed = fs::remove_file((tool.map)(file));
            removed.map_err(|error| Failure(format!("{}: {file}: {}", self.name, strerror(&error)), 1))?;
        }
        Ok(())
    }

    fn not_found(&self, file: &str) -> String {
        match self.name {
            "zstd" => format!("zstd: can't stat {file} : No such file or directory -- ignored "),
            name => format!("{name}: {file}: No such file or directory"),
        }
    }

    fn destination(&self, file: &str, options: &Options) -> Result<Destination, Failure> {
        if options.mode == Mode::Test {
            return Ok(Destination::Nothing);
        }
        match &options.output {
            Some(output) if output != "-" => return Ok(Destination::File(output.clone())),
            Some(_) => return Ok(Destination::Stdout),
            None if options.to_stdout || is_stdin(file) => return Ok(Destination::Stdout),
            None => {}
        }
        let suffix = self.compression.suffix();
        match (options.mode, file.strip_suffix(suffix)) {
            (Mode::Decompress, Some(stem)) => Ok(Destination::File(stem.to_owned())),
            (Mode::Decompress, None) => Err(Failure(
                format!(
                    "{}: {file}: unknown suffix ({suffix} expected). Can't derive the output file name. Specify it with -o dstFileName. Ignoring.",
                    self.name
                ),
                1,
            )),
            _ => Ok(Destination::File(format!("{file}{suffix}"))),
        }
    }

    fn may_write(&self, shown: &str, path: &Path, options: &Options) -> Result<(), Failure> {
        if path.exists() && !options.force {
            return Err(Failure(format!("{}: {shown} already exists; not overwritten  ", self.name), 1));
        }
        Ok(())
    }

    fn copy_to_stdout(
        &self,
        tool: &mut Tool<'_>,
        file: &str,
        name: &str,
        options: &Options,
    ) -> Result<u64, Failure> {
        let Tool { stdin, stdout, map, .. } = tool;
        let input = open_input(file, *stdin, *map).map_err(|error| self.read_failed(name, &error))?;
        self.transform(input, name, options.mode, &mut **stdout)
    }

    fn copy<W: Write>(
        &self,
        tool: &mut Tool<'_>,
        file: &str,
        name: &str,
        options: &Options,
        create: impl FnOnce(&str) -> io::Result<W>,
    ) -> Result<u64, Failure> {
        let input = open_input(file, tool.stdin, tool.map).map_err(|error| self.read_failed(name, &error))?;
        let output = create(file).map_err(|error| self.write_failed(&error))?;
        self.transform(input, name, options.mode, output)
    }

    fn transform(
        &self,
        input: impl Read,
        name: &str,
        mode: Mode,
        output: impl Write,
    ) -> Result<u64, Failure> {
        if mode == Mode::Compress {
            return self.compress(input, name, output);
        }
        let reader = self.compression.reader(input, name).map_err(|error| self.read_failed(name, &error))?;
        self.pump(reader, name, output)
    }

    fn compress(&self, input: impl Read, name: &str, output: impl Write) -> Result<u64, Failure> {
        let mut writer = self.compression.writer(output).map_err(|error| self.write_failed(&error))?;
        let bytes = self.pump(input, name, &mut writer)?;
        writer.finish().map_err(|error| self.write_failed(&error))?;
        Ok(bytes)
    }

    /// Copies all of it; reading and writing fail with different words.
    fn pump(&self, mut input: impl Read, name: &str, mut output: impl Write) -> Result<u64, Failure> {
        let mut buffer = vec![0; 1 << 17];
        let mut bytes = 0;
        loop {
            let length = match input.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.read_failed(name, &error)),
            };
            output.write_all(&buffer[..length]).map_err(|error| self.write_failed(&error))?;
            bytes += length as u64;
        }
        output.flush().map_err(|error| self.write_failed(&error))?;
        Ok(bytes)
    }

    fn read_failed(&self, name: &str, error: &io::Error) -> Failure {
        match ToolError::of(error) {
            Some(own) => Failure(own.line.clone(), own.status),
            None => Failure(format!("{}: {name}: {}", self.name, strerror(error)), 1),
        }
    }

    fn write_failed(&self, error: &io::Error) -> Failure {
        match (error.kind(), self.name) {
            // The signal leaves no time for words.
            (io::ErrorKind::BrokenPipe, _) => Failure(String::new(), self.broken_pipe),
            (_, "zstd") => Failure(
                format!("zstd: error 70 : Write error : cannot write block : {} ", strerror(error)),
                70,
            ),
            (_, name) => Failure(format!("{name}: {}: <stdout>", strerror(error)), 1),
        }
    }
}

enum Destination {
    Nothing,
    Stdout,
    File(String),
}
