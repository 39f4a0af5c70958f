//! The labs that cases are tried in. A case takes one, and puts it back as it was for the next case.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use restore_lab::{
    lab::{CT, Checkpoint, Inventory, Lab, LabBuilder, VM},
    sim::GuestKind,
};

use crate::{
    case::Setup,
    state::{State, archived},
};

/// A lab, and how it is at the beginning of each case.
pub struct Bench {
    pub lab: Arc<Lab>,
    pub pve: u8,
    pub initial: Inventory,
    checkpoint: Checkpoint,
    before: BTreeMap<u32, State>,
    /// The disks in the newest backup.
    pub archived: BTreeMap<u32, BTreeMap<String, String>>,
}

impl Bench {
    fn start(pve: u8) -> std::io::Result<Self> {
        let lab = LabBuilder::new().pve(pve).small().start()?;
        lab.watch_tools()?;
        let (mut before, mut newest) = (BTreeMap::new(), BTreeMap::new());
        for (kind, vmid) in [(GuestKind::Vm, VM), (GuestKind::Ct, CT)] {
            lab.write_to_guest(vmid, "work since the last backup")?;
            newest.insert(vmid, archived(&lab, kind, vmid)?);
            let state = State::of(&lab, kind, vmid)?;
            before.insert(vmid, state.ok_or_else(|| std::io::Error::other("no guest"))?);
        }
        let (initial, checkpoint) = (lab.inventory()?, lab.checkpoint()?);
        Ok(Self { lab: Arc::new(lab), pve, initial, checkpoint, before, archived: newest })
    }

    /// How the original was at the beginning.
    pub fn original(&self, setup: Setup) -> &State {
        &self.before[&setup.source()]
    }

    /// How the target was at the beginning: a copy was not there.
    pub fn before(&self, setup: Setup) -> Option<&State> {
        self.before.get(&setup.target())
    }
}

/// Labs that wait for a case.
#[derive(Default)]
pub struct Benches(Mutex<Vec<Bench>>);

impl Benches {
    /// Lets `work` have a lab that is as at the beginning.
    pub fn with<T>(&self, pve: u8, work: impl FnOnce(&Bench) -> T) -> std::io::Result<T> {
        let waiting = {
            let mut benches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // The cases of one version come together, and a lab that only waits costs time as well.
            benches.retain(|bench| bench.pve == pve);
            benches.pop()
        };
        let bench = waiting.map_or_else(|| Bench::start(pve), Ok)?;
        let result = work(&bench);
        bench.lab.go_back(&bench.checkpoint)?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(bench);
        Ok(result)
    }
}
