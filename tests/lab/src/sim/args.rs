//! Command lines of the programs: command words, positional arguments and options.

use std::collections::BTreeMap;

/// A command line as a program understands it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parsed {
    /// The program and its sub-commands.
    pub words: Vec<String>,
    /// Positional arguments and options by name, without dashes. A flag without value is `1`.
    pub params: BTreeMap<String, String>,
    /// What follows the positional arguments where a command takes more, such as the words after `exec ID --`.
    pub rest: Vec<String>,
}

impl Parsed {
    /// The value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.params.get(name).map(String::as_str)
    }

    /// Whether a boolean parameter is true.
    pub fn is_on(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|value| matches!(value.to_lowercase().as_str(), "1" | "on" | "yes" | "true"))
    }

    /// The guest number.
    pub fn vmid(&self) -> u32 {
        self.get("vmid").and_then(|vmid| vmid.parse().ok()).unwrap_or_default()
    }

    /// A number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.get(name).and_then(|value| value.parse().ok())
    }
}

/// A command: its words, its positional arguments and whether more may follow them.
struct Usage {
    words: &'static str,
    positional: &'static [&'static str],
    more: bool,
}

const fn usage(words: &'static str, positional: &'static [&'static str]) -> Usage {
    Usage { words, positional, more: false }
}

const COMMANDS: &[Usage] = &[
    Usage { words: "vzdump", positional: &[], more: true },
    usage("qmrestore", &["archive", "vmid"]),
    usage("pvesh --nooutput get", &["api_path"]),
    usage("pvesh --nooutput set", &["api_path"]),
    usage("pvesh --nooutput create", &["api_path"]),
    usage("pvesh --nooutput delete", &["api_path"]),
    usage("ha-manager status", &[]),
    usage("ha-manager config", &[]),
    usage("ha-manager add", &["sid"]),
    usage("ha-manager set", &["sid"]),
    usage("ha-manager remove", &["sid"]),
    usage("ha-manager crm-command stop", &["sid", "timeout"]),
    usage("pvesh get", &["api_path"]),
    usage("pvesh set", &["api_path"]),
    usage("pvesh create", &["api_path"]),
    usage("pvesh delete", &["api_path"]),
    usage("pvesm status", &[]),
    usage("pvesm list", &["storage"]),
    usage("pvesm path", &["volume"]),
    usage("pvesm extractconfig", &["volume"]),
    usage("pvesm free", &["volume"]),
    usage("pvesm alloc", &["storage", "vmid", "filename", "size"]),
    usage("pvesm prune-backups", &["storage"]),
    usage("pvesm set", &["storage"]),
    Usage { words: "qm guest exec", positional: &["vmid"], more: true },
    usage("qm guest cmd", &["vmid", "command"]),
    usage("qm agent", &["vmid", "command"]),
    usage("qm disk rescan", &[]),
    usage("qm rescan", &[]),
    usage("qm list", &[]),
    usage("qm start", &["vmid"]),
    usage("qm stop", &["vmid"]),
    usage("qm shutdown", &["vmid"]),
    usage("qm reboot", &["vmid"]),
    usage("qm status", &["vmid"]),
    usage("qm config", &["vmid"]),
    usage("qm pending", &["vmid"]),
    usage("qm destroy", &["vmid"]),
    usage("qm unlock", &["vmid"]),
    usage("qm listsnapshot", &["vmid"]),
    usage("qm set", &["vmid"]),
    usage("qm wait", &["vmid"]),
    usage("pct restore", &["vmid", "ostemplate"]),
    usage("pct list", &[]),
    usage("pct start", &["vmid"]),
    usage("pct stop", &["vmid"]),
    usage("pct shutdown", &["vmid"]),
    usage("pct status", &["vmid"]),
    usage("pct config", &["vmid"]),
    usage("pct pending", &["vmid"]),
    usage("pct destroy", &["vmid"]),
    usage("pct unlock", &["vmid"]),
    usage("pct listsnapshot", &["vmid"]),
    usage("pct set", &["vmid"]),
    usage("pct df", &["vmid"]),
    usage("pct mount", &["vmid"]),
    usage("pct unmount", &["vmid"]),
    usage("pct rescan", &[]),
    Usage { words: "pct exec", positional: &["vmid"], more: true },
];

const FLAGS: &[&str] = &[
    "force",
    "unique",
    "live-restore",
    "start",
    "ha-managed",
    "skiplock",
    "verbose",
    "current",
    "purge",
    "destroy-unreferenced-disks",
    "forceStop",
    "keepActive",
    "overrule-shutdown",
    "dry-run",
    "dryrun",
    "full",
    "protection",
    "onboot",
    "synchronous",
];

/// Reads a command line. The error is the text for standard error.
pub(super) fn parse(argv: &[String]) -> Result<Parsed, String> {
    let starts = |usage: &&Usage| {
        let words: Vec<_> = usage.words.split(' ').collect();
        argv.len() >= words.len() && argv.iter().zip(&words).all(|(a, b)| a == b)
    };
    let Some(usage) = COMMANDS.iter().find(starts) else {
        return Err(format!("ERROR: unknown command '{}'", argv.join(" ")));
    };
    let words: Vec<String> = usage.words.split(' ').map(str::to_owned).collect();
    let mut parsed = Parsed { words, ..Parsed::default() };
    let mut positional = Vec::new();
    let mut args = argv[parsed.words.len()..].iter().peekable();
    while let Some(arg) = args.next() {
        let Some(option) = arg.strip_prefix('-').filter(|name| !name.is_empty()) else {
            positional.push(arg.clone());
            continue;
        };
        let option = option.trim_start_matches('-');
        if option.is_empty() {
            positional.extend(args.by_ref().cloned());
            break;
        }
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None if FLAGS.contains(&option) => {
                (option, args.next_if(|next| !next.starts_with('-')).cloned().or_else(|| Some("1".into())))
            }
            None => (option, args.next().cloned()),
        };
        let Some(value) = value else {
            return Err(format!(
                "Option {name} requires an argument\n{}",
                problem(usage, "unable to parse option")
            ));
        };
        parsed.params.insert(name.into(), value);
    }
    if positional.len() < usage.positional.len() {
        return Err(problem(usage, "not enough arguments"));
    }
    if positional.len() > usage.positional.len() && !usage.more {
        return Err(problem(usage, "too many arguments"));
    }
    parsed.rest = positional.split_off(usage.positional.len());
    let names = usage.positional.iter().map(|&name| name.to_owned());
    parsed.params.extend(names.zip(positional));
    Ok(parsed)
}

fn problem(usage: &Usage, text: &str) -> String {
    let positional: Vec<_> = usage.positional.iter().map(|name| format!(" <{name}>")).collect();
    format!("400 {text}\n{}{} [OPTIONS]", usage.words, positional.concat())
}
