//! The options of a job that change what it does in the lab.

use super::retention::Retention;
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
    /// Takes options that were checked when the command line was parsed.
    pub(super) fn new(given: &[(String, String)]) -> Self {
        let get = |name: &str| given.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        let is_on = |name: &str, default: bool| get(name).map_or(default, |value| value == "1");
        let line = given.iter().filter(|(key, _)| key != "vmid").fold(
            format!("vzdump {}", get("vmid").unwrap_or_default().replace(',', " ")),
            |line, (key, value)| format!("{line} --{key} {}", quoted(value)),
        );
        let standard = if is_on("stdexcludes", true) { STANDARD_EXCLUSIONS.as_slice() } else { &[] };
        let own = given.iter().filter(|(key, _)| key == "exclude-path").map(|(_, value)| value.as_str());
        Self {
            line: line.replace("vzdump  ", "vzdump "),
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
    fn the_line_shows_what_was_given() {
        let given = [
            ("vmid", "100,200"),
            ("storage", "nas"),
            ("notes-template", "{{guestname}} x"),
            ("compress", "1"),
        ];
        let options = Options::new(&given.map(|(key, value)| (key.to_owned(), value.to_owned())));
        assert_eq!(
            options.line,
            "vzdump 100 200 --storage nas --notes-template '{{guestname}} x' --compress 1"
        );
        assert_eq!(options.compressor().as_deref(), Some("lzop"));
        assert!(options.remove && !options.protected);
        assert_eq!(options.excluded_paths.len(), 3);
    }
}
