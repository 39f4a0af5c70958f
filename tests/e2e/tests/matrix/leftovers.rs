//! What is on the node that was not there before, and that no report names.

use std::{
    fs, io,
    path::Path,
    time::{Duration, Instant},
};

use restore_lab::{
    lab::{Lab, NODE},
    sim::{GuestKind, Node},
};

use crate::{
    bench::Bench,
    case::Setup,
    state::{config_path, volumes},
};

/// How long work on the node may take to end after the run that ended it.
const END: Duration = Duration::from_secs(10);

/// Folders that are not a run's own: to name them says nothing about what is in them.
const SHARED: &[&str] =
    &["/var/tmp/pve-restore", "/var/lib/vz/dump", "/etc/pve/firewall", "/etc/pve/nodes", "/run", "/dev/pve"];

/// Everything that the `reports` should have named, in words.
pub fn unnamed(bench: &Bench, setup: Setup, reports: &str) -> io::Result<Vec<String>> {
    let lab = &bench.lab;
    let mut found = Vec::new();
    if !is_quiet_within(lab, END) {
        found.push("work still goes on".to_owned());
    }
    let target = Target::of(lab, setup)?;
    let now = lab.inventory()?;
    for (path, content) in &now.files {
        let news = match bench.initial.files.get(path) {
            Some(before) if before == content => continue,
            Some(_) => "was changed",
            None => "is new",
        };
        if !target.has(path) && !is_named(path, reports) {
            found.push(format!("`{path}` {news}"));
        }
    }
    let originals =
        bench.before(setup).map(|state| Target::places(lab, state.volumes.values())).transpose()?;
    let was_its = |path: &str| target.is_about(path) || originals.iter().flatten().any(|p| is_below(path, p));
    let gone = bench.initial.files.keys().filter(|path| !now.files.contains_key(*path) && !was_its(path));
    found.extend(gone.map(|path| format!("`{path}` is gone")));
    for path in leaves(lab, "/var/tmp")?.into_iter().filter(|path| !is_named(path, reports)) {
        found.push(format!("`{path}` is left"));
    }
    found.extend(odd_lines(lab)?);
    Ok(found)
}

/// Waits until nothing works on the node any more.
pub fn is_quiet_within(lab: &Lab, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    while lab.is_busy() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::park_timeout(Duration::from_millis(25));
    }
    true
}

/// The restored guest's own files.
struct Target {
    files: Vec<String>,
    exists: bool,
    places: Vec<String>,
}

impl Target {
    fn of(lab: &Lab, setup: Setup) -> io::Result<Self> {
        let (kind, vmid) = (setup.kind, setup.target());
        let files = vec![
            format!("/etc/pve/nodes/{NODE}/{}/{vmid}.conf", kind.folder()),
            format!("/etc/pve/firewall/{vmid}.fw"),
            Node::pid_path(kind, vmid),
        ];
        let config = lab.read(&config_path(kind, vmid)).ok();
        let exists = config.is_some();
        let places = Self::places(lab, volumes(&config.unwrap_or_default()).values())?;
        Ok(Self { files, exists, places })
    }

    /// Where volumes are.
    fn places<'a>(lab: &Lab, volids: impl Iterator<Item = &'a String>) -> io::Result<Vec<String>> {
        let node = lab.node()?;
        let place = |volid: &String| node.place(volid).map_err(|failure| io::Error::other(failure.text));
        volids.map(|volid| Ok(place(volid)?.path)).collect()
    }

    fn is_about(&self, path: &str) -> bool {
        self.files.iter().any(|file| file == path)
    }

    fn has(&self, path: &str) -> bool {
        self.exists && self.is_about(path) || self.places.iter().any(|place| is_below(path, place))
    }
}

/// The volume itself, what is in it, and what the simulator notes about it.
fn is_below(path: &str, place: &str) -> bool {
    path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '.']))
}

/// An archive is named by its volume id, and with it the files beside it; everything else by its path or that of a
/// folder around it.
fn is_named(path: &str, reports: &str) -> bool {
    let file = path.strip_prefix("/var/lib/vz/dump/");
    let stem = file.and_then(|file| file.split('.').next());
    if stem.is_some_and(|stem| reports.contains(&format!("local:backup/{stem}."))) {
        return true;
    }
    let named = |folder: &Path| {
        let text = folder.display().to_string();
        reports.split(&text).skip(1).any(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '-'))
    };
    let below_shared = |folder: &&Path| !SHARED.iter().any(|shared| Path::new(shared).starts_with(folder));
    Path::new(path).ancestors().take_while(below_shared).any(named)
}

/// Files, links, and folders with nothing in them.
fn leaves(lab: &Lab, folder: &str) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(lab.path(folder)) {
        // Somebody was just clearing it away.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        let below = if entry.file_type()?.is_dir() { leaves(lab, &path)? } else { Vec::new() };
        if below.is_empty() {
            found.push(path);
        } else {
            found.extend(below);
        }
    }
    Ok(found)
}

/// Locks, and volumes that are attached nowhere.
fn odd_lines(lab: &Lab) -> io::Result<Vec<String>> {
    let mut odd = Vec::new();
    for kind in [GuestKind::Vm, GuestKind::Ct] {
        for entry in fs::read_dir(lab.path(&format!("/etc/pve/{}", kind.folder())))? {
            let path = entry?.path();
            let text = fs::read_to_string(&path)?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let lines = text.lines().filter(|line| line.starts_with("lock:") || line.starts_with("unused"));
            odd.extend(lines.map(|line| format!("`{line}` in {name}")));
        }
    }
    Ok(odd)
}
