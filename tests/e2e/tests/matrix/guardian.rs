//! Looks at every moment whether a complete copy of the guest's data is there.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use restore_lab::{lab::Lab, ssh::Moment};

use crate::{
    bench::Bench,
    case::Setup,
    state::{State, config_path},
};

/// What is known of a file without reading it.
type Signature = Vec<(PathBuf, u64, i64, i64, u64)>;

/// Content by the volume or archive it was read from, as long as that is not written to.
type Read = HashMap<String, (Signature, Option<BTreeMap<String, String>>)>;

/// Keeps watch over the original's data.
pub struct Guardian {
    setup: Setup,
    original: State,
    config: Option<String>,
    /// The archives that were there before any work.
    archives: BTreeSet<String>,
    read: Mutex<Read>,
    seen: Mutex<Vec<String>>,
}

impl Guardian {
    pub fn new(bench: &Bench, setup: Setup) -> io::Result<Self> {
        Ok(Self {
            setup,
            original: bench.original(setup).clone(),
            config: bench.lab.read(&config_path(setup.kind, setup.source())).ok(),
            archives: archives(&bench.lab)?,
            read: Mutex::default(),
            seen: Mutex::default(),
        })
    }

    /// Looks.
    pub fn look(&self, lab: &Lab, moment: Moment) {
        let found = if self.setup.copy { self.original_is_untouched(lab) } else { self.is_safe(lab) };
        let wrong = match found {
            Ok(None) => return,
            Ok(Some(wrong)) => wrong,
            Err(error) => format!("cannot look: {error}"),
        };
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{moment:?}: {wrong}"));
    }

    /// What was wrong, and when.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn original_is_untouched(&self, lab: &Lab) -> io::Result<Option<String>> {
        let (kind, vmid) = (self.setup.kind, self.setup.source());
        if lab.read(&config_path(kind, vmid)).ok() != self.config {
            return Ok(Some("the configuration of the original was changed".to_owned()));
        }
        if lab.node()?.running(kind, vmid).is_none() {
            return Ok(Some("the original does not run".to_owned()));
        }
        Ok((!self.volumes_are_whole(lab)?).then(|| "the original's disks were changed".to_owned()))
    }

    /// The archive that is restored does not count: it lacks the work done since.
    fn is_safe(&self, lab: &Lab) -> io::Result<Option<String>> {
        if self.is_backed_up(lab)? || self.volumes_are_whole(lab)? {
            return Ok(None);
        }
        Ok(Some("no complete copy of the guest's data is there".to_owned()))
    }

    fn is_backed_up(&self, lab: &Lab) -> io::Result<bool> {
        let new = archives(lab)?;
        for file in new.difference(&self.archives) {
            let content = self.content(file, &lab.archive(file), || lab.archive_sha256(file))?;
            if content.as_ref() == Some(&self.original.contents.disks) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn volumes_are_whole(&self, lab: &Lab) -> io::Result<bool> {
        let node = lab.node()?;
        for (key, volid) in &self.original.volumes {
            let place = node.place(volid).map_err(|failure| io::Error::other(failure.text))?;
            let read = || Ok(BTreeMap::from([(key.clone(), lab.volume_sha256(volid)?)]));
            let content = self.content(volid, &lab.path(&place.path), read)?;
            if content.and_then(|disks| disks.get(key).cloned()).as_ref()
                != self.original.contents.disks.get(key)
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// `None` when it cannot be read to its end.
    fn content(
        &self,
        name: &str,
        path: &Path,
        read: impl FnOnce() -> io::Result<BTreeMap<String, String>>,
    ) -> io::Result<Option<BTreeMap<String, String>>> {
        let mut now = Signature::new();
        sign(path, &mut now)?;
        let mut known = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(name) {
            Some((then, content)) if *then == now => Ok(content.clone()),
            _ => {
                let content = read().ok();
                known.insert(name.to_owned(), (now, content.clone()));
                Ok(content)
            }
        }
    }
}

/// Finished archives: while one is written it has another name.
fn archives(lab: &Lab) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(lab.archive(""))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".vma.zst") || name.ends_with(".tar.zst") {
            names.insert(name);
        }
    }
    Ok(names)
}

/// Work may go on meanwhile: what vanishes is not there.
fn sign(path: &Path, into: &mut Signature) -> io::Result<()> {
    let meta = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        meta => meta?,
    };
    into.push((path.to_owned(), meta.len(), meta.ctime(), meta.ctime_nsec(), meta.ino()));
    if !meta.is_dir() {
        return Ok(());
    }
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    paths.iter().try_for_each(|path| sign(path, into))
}
