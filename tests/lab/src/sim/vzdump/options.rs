//! The options of a job that change what it does in the lab.

use super::retention::Retention;
use crate::sim::Parsed;
use crate::sim::compress::Compression;

/// How consistency is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Snapshot,
    Suspend,
    Stop,
}

impl Mode {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Suspend => "suspend",
            Self::Stop => "stop",
        }
    }
}

/// The options as given, with the defaults of a node.
#[derive(Debug)]
pub(super) struct Options {
    /// The command line as the first line of the job shows it.
    pub(super) line: String,
    pub(super) storage: Option<String>,
    pub(super) dumpdir: Option<String>,
    pub(super) compression: Compression,
    pub(super) mode: Mode,
    pub(super) retention: Option<Retention>,
    pub(super) remove: bool,
    pub(super) protected: bool,
    pub(super) notes: Option<String>,
    pub(super) quiet: bool,
    pub(super) ionice: String,
    pub(super) bwlimit: Option<String>,
    pub(super) zstd_threads: String,
    /// Minutes to wait for another job.
    pub(super) lockwait: u64,
    pub(super) excluded_paths: Vec<String>,
}

impl Options {
    /// Takes a command line that was checked; `defaults` is the text of `/etc/vzdump.conf`.
    pub(super) fn new(call: &Parsed, defaults: &str) -> Self {
        let line = line(call);
        let call = &with_defaults(call, defaults);
        let get = |name: &str| call.get(name).map(str::to_owned);
        let is_on = |name: &str, default: bool| get(name).map_or(default, |_| call.is_on(name));
        let standard = if is_on("stdexcludes", true) { STANDARD_EXCLUSIONS.as_slice() } else { &[] };
        let own = call.get("exclude-path").into_iter().flat_map(|list| list.split('\0'));
        Self {
            line,
            storage: get("storage"),
            dumpdir: get("dumpdir"),
            compression: match get("compress").as_deref() {
                Some("1" | "lzo") => Compression::Lzo,
                Some("gzip") => Compression::Gzip,
                Some("zstd") => Compression::Zstd,
                _ => Compression::None,
            },
            mode: match get("mode").as_deref() {
                Some("stop") => Mode::Stop,
                Some("suspend") => Mode::Suspend,
                _ => Mode::Snapshot,
            },
            retention: get("prune-backups").map(|text| Retention::parse(&text)),
            remove: is_on("remove", true),
            protected: is_on("protected", false),
            notes: get("notes-template"),
            quiet: is_on("quiet", false),
            ionice: get("ionice").unwrap_or_else(|| "7".into()),
            bwlimit: get("bwlimit").filter(|limit| limit != "0"),
            zstd_threads: get("zstd").unwrap_or_else(|| "1".into()),
            lockwait: get("lockwait").and_then(|minutes| minutes.parse().ok()).unwrap_or(180),
            excluded_paths: standard.iter().copied().chain(own).map(str::to_owned).collect(),
        }
    }

    /// The compressor as it stands in commands; nothing without compression.
    pub(super) fn compressor(&self) -> Option<String> {
        match self.compression {
            Compression::None | Compression::Bzip2 => None,
            Compression::Zstd => Some(format!("zstd --threads={}", self.zstd_threads)),
            Compression::Gzip => Some("gzip --rsyncable".into()),
            Compression::Lzo => Some("lzop".into()),
        }
    }
}

/// The guest numbers of a command line, given apart or as lists.
pub(super) fn guest_numbers(call: &Parsed) -> Option<String> {
    call.get("vmid").map(str::to_owned).or_else(|| (!call.rest.is_empty()).then(|| call.rest.join(",")))
}

/// Adds what is not given from a file of `key: value` lines. A place for the archives that is given replaces
/// both kinds of place in the file.
fn with_defaults(call: &Parsed, defaults: &str) -> Parsed {
    let mut all = call.clone();
    let has_place = call.get("storage").or_else(|| call.get("dumpdir")).is_some();
    let lines = defaults.lines().filter(|line| !line.starts_with('#'));
    for (key, value) in lines.filter_map(|line| line.split_once(':')) {
        let key = key.trim();
        if !(has_place && ["storage", "dumpdir"].contains(&key)) {
            all.params.entry(key.to_owned()).or_insert_with(|| value.trim().to_owned());
        }
    }
    all
}

/// The command line as a job shows it.
fn line(call: &Parsed) -> String {
    let mut words = vec!["vzdump".to_owned()];
    words.extend(guest_numbers(call).map(|list| list.replace(',', " ")));
    for (key, value) in call.params.iter().filter(|(key, _)| *key != "vmid") {
        words.extend([format!("--{key}"), quoted(value)]);
    }
    words.join(" ")
}

const STANDARD_EXCLUSIONS: [&str; 3] = ["/tmp/?*", "/var/tmp/?*", "/var/run/?*.pid"];

/// Quotes a word for a shell only where it must be.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@+,%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_is_shown_and_goes_before_the_defaults() {
        let params = [
            ("vmid", "100,200"),
            ("storage", "nas"),
            ("notes-template", "{{guestname}} x"),
            ("compress", "1"),
        ];
        let params = params.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let defaults = "# by hand\nstorage: local\nmode: stop\ncompress: zstd\nionice: 5\n";
        let options = Options::new(&Parsed { params, ..Parsed::default() }, defaults);
        assert_eq!(
            options.line,
            "vzdump 100 200 --compress 1 --notes-template '{{guestname}} x' --storage nas"
        );
        assert_eq!(options.compressor().as_deref(), Some("lzop"));
        assert_eq!((options.mode, options.ionice.as_str()), (Mode::Stop, "5"), "defaults of the node");
        assert_eq!(options.storage.as_deref(), Some("nas"));
        assert!(options.remove && !options.protected);
        assert_eq!(options.excluded_paths.len(), 3);
    }
}
