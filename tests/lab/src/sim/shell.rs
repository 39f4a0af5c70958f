//! A node's login shell: what an SSH server in front of the simulated node runs for each command.
//!
//! The text is run by a real shell, with the simulated programs first in its path. Absolute paths of the node lie below
//! a root folder, so they are translated on the way in, at the beginnings of words, and translated back in everything
//! that is printed. Redirections, `cd` and the system's own tools work on the node's files that way, without root and
//! without a container.

use std::{
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// Folders and files of the node that commands name. Everything else, `/usr/bin` or `/proc`, is the machine's own.
pub(super) const PLACES: &[&str] = &[
    "/etc/pve",
    "/etc/vzdump.conf",
    "/etc/hostname",
    "/var/lib/vz",
    "/var/lib/lxc",
    "/var/lib/data",
    "/var/tmp",
    "/var/log/pve",
    "/var/lock",
    "/run",
    "/mnt",
    "/root",
];

/// The programs of the node that are simulated.
pub const PROGRAMS: &[&str] =
    &["qm", "pct", "qmrestore", "pvesh", "pvesm", "vzdump", "vma", "ha-manager", "zstd", "lzop"];

/// Tools of the system that change files, and `find`. A lab can have them pass through the simulator, to let them fail.
pub const TOOLS: &[&str] = &["find", "install", "rm", "tee"];

/// Which node a shell belongs to.
#[derive(Clone, Debug)]
pub struct ShellNode {
    /// The folder that holds the node's files.
    pub root: PathBuf,
    /// Major version of Proxmox VE.
    pub version: String,
    /// The node's name.
    pub name: String,
}

impl ShellNode {
    /// The folder with the links to the simulated programs.
    pub fn programs(&self) -> PathBuf {
        self.root.join(".bin")
    }

    /// Makes the links. `simulator` is the multi-call program.
    pub fn link_programs(&self, simulator: &Path) -> io::Result<()> {
        fs::create_dir_all(self.programs())?;
        self.link(PROGRAMS, simulator)
    }

    /// Links these names, too.
    pub(crate) fn link(&self, names: &[&str], simulator: &Path) -> io::Result<()> {
        names.iter().try_for_each(|name| std::os::unix::fs::symlink(simulator, self.programs().join(name)))
    }

    /// What the programs of the node are told about it.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("PVE_SIM_ROOT", self.root.display().to_string()),
            ("PVE_SIM_VERSION", self.version.clone()),
            ("PVE_SIM_NODE", self.name.clone()),
        ]
    }

    /// Runs one command text as a login shell would and gives its exit status.
    pub fn run(&self, text: &str) -> io::Result<ExitStatus> {
        Login {
            root: &self.root,
            places: PLACES,
            programs: &self.programs(),
            variables: self.variables(),
            log: &self.root.join("var/log/pve-sim"),
        }
        .run(text)
    }
}

/// A login shell on a machine whose files lie below a folder.
pub(crate) struct Login<'a> {
    /// The folder.
    pub(crate) root: &'a Path,
    /// Which of the machine's paths are below it.
    pub(crate) places: &'a [&'a str],
    /// Where the simulated programs are.
    pub(crate) programs: &'a Path,
    /// What these are told.
    pub(crate) variables: Vec<(&'static str, String)>,
    /// Where `exec.jsonl` is.
    pub(crate) log: &'a Path,
}

impl Login<'_> {
    /// Runs one command text and gives its exit status.
    pub(crate) fn run(self, text: &str) -> io::Result<ExitStatus> {
        let started = Instant::now();
        self.record(&serde_json::json!({ "time": now(), "exec": text }))?;
        let root = self.root.to_string_lossy().into_owned();
        let path = format!(
            "{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            self.programs.display()
        );
        let mut child = Command::new("bash")
            .args(["-c", &translated(text, &root, self.places)])
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.root.join("root"))
            .env("USER", "root")
            .env("TZ", "UTC")
            .envs(self.variables.iter().map(|(name, value)| (*name, value)))
            .current_dir(self.root.join("root"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        // Each copier ends when its reader is gone, which closes the pipe: the next one who writes gets SIGPIPE, as
        // behind a real SSH server.
        let out = child.stdout.take().map(|pipe| copier(pipe, io::stdout(), root.clone()));
        let err = child.stderr.take().map(|pipe| copier(pipe, io::stderr(), root));
        let status = child.wait()?;
        for thread in [out, err].into_iter().flatten() {
            drop(thread.join());
        }
        self.record(&serde_json::json!({ "time": now(), "took": started.elapsed().as_secs_f64() }))?;
        Ok(status)
    }

    /// One line when a remote execution begins, and one when it ended.
    fn record(&self, line: &serde_json::Value) -> io::Result<()> {
        fs::create_dir_all(self.log)?;
        let mut file = fs::OpenOptions::new().append(true).create(true).open(self.log.join("exec.jsonl"))?;
        file.write_all(format!("{line}\n").as_bytes())
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn copier<R, W>(mut from: R, mut to: W, root: String) -> thread::JoinHandle<io::Result<()>>
where
    R: Read + Send + 'static,
    W: Write + Send + 'static,
{
    thread::spawn(move || {
        let mut back = Back::new(&root);
        let mut buffer = vec![0; 65_536];
        loop {
            let count = from.read(&mut buffer)?;
            let ready = if count == 0 { back.rest() } else { back.next(&buffer[..count]) };
            to.write_all(&ready).and_then(|()| to.flush())?;
            if count == 0 {
                return Ok(());
            }
        }
    })
}

/// The text with the paths of these places below `root`.
pub(crate) fn translated(text: &str, root: &str, places: &[&str]) -> String {
    let mut out = String::with_capacity(text.len() + 256);
    let mut before = None;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if c == '/' && begins_a_word(before) && places.iter().any(|place| is_at(rest, place)) {
            out.push_str(root);
        }
        out.push(c);
        before = Some(c);
        rest = &rest[c.len_utf8()..];
    }
    out
}

fn begins_a_word(before: Option<char>) -> bool {
    before.is_none_or(|c| c.is_whitespace() || "'\"=<>(;:|&{`".contains(c))
}

/// Whether `text` begins with this very path or with something below it.
fn is_at(text: &str, place: &str) -> bool {
    text.strip_prefix(place)
        .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || "-_.".contains(c)))
}

/// An argument of a simulated program as the node knows it.
pub fn without_root(argument: &str, root: &Path) -> String {
    match (argument.strip_prefix(&*root.to_string_lossy()), argument) {
        (Some(""), _) => "/".to_owned(),
        (Some(rest), _) if rest.starts_with('/') => rest.to_owned(),
        (_, whole) => whole.to_owned(),
    }
}

/// Takes the root out of a stream that comes in pieces.
struct Back {
    root: Vec<u8>,
    held: Vec<u8>,
}

impl Back {
    fn new(root: &str) -> Self {
        Self { root: root.as_bytes().to_vec(), held: Vec::new() }
    }

    /// What can be passed on. A piece that ends in what may be a beginning of the root is held back.
    fn next(&mut self, piece: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(piece);
        let mut out = Vec::with_capacity(self.held.len());
        let mut at = 0;
        while at < self.held.len() {
            let rest = &self.held[at..];
            if rest.starts_with(&self.root) {
                at += self.root.len();
            } else if self.root.starts_with(rest) {
                break;
            } else {
                out.push(rest[0]);
                at += 1;
            }
        }
        self.held.drain(..at);
        out
    }

    fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("cat /etc/pve/lxc/1.conf", "cat /R/etc/pve/lxc/1.conf")]
    #[case(
        "zstd -dc '/var/lib/vz/dump/a b'|vma verify -v -",
        "zstd -dc '/R/var/lib/vz/dump/a b'|vma verify -v -"
    )]
    #[case("cd /var/tmp >/run/x", "cd /R/var/tmp >/R/run/x")]
    #[case("a=/mnt/nas; ls", "a=/R/mnt/nas; ls")]
    #[case("pvesh get /nodes/pve/storage", "pvesh get /nodes/pve/storage")]
    #[case("ls /etc/pver /rooted x/etc/pve", "ls /etc/pver /rooted x/etc/pve")]
    #[case("local:/var/lib/vz", "local:/R/var/lib/vz")]
    #[case("/usr/bin/env ls /proc", "/usr/bin/env ls /proc")]
    fn the_nodes_paths_are_below_the_root(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(translated(text, "/R", PLACES), expected);
    }

    #[test]
    fn the_root_is_taken_out_of_the_output_wherever_it_is_cut() {
        let text = b"/tmp/lab/etc/pve and /tmp/la/x /tmp/lab";
        for cut in 0..text.len() {
            let mut back = Back::new("/tmp/lab");
            let mut out = back.next(&text[..cut]);
            out.extend(back.next(&text[cut..]));
            out.extend(back.rest());
            assert_eq!(String::from_utf8_lossy(&out), "/etc/pve and /tmp/la/x ", "cut at {cut}");
        }
    }

    #[test]
    fn arguments_are_what_the_node_knows() {
        let root = Path::new("/tmp/lab");
        assert_eq!(without_root("/tmp/lab/var/lib/vz/x", root), "/var/lib/vz/x");
        assert_eq!(without_root("/tmp/laboratory", root), "/tmp/laboratory");
        assert_eq!(without_root("local:backup/x", root), "local:backup/x");
    }
}
