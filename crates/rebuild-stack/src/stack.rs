//! What tells one stack from another.

use restore_common::{
    cli::Common,
    homelab::{DeclaredStack, Environment, HomelabError, Project},
    monitoring::{Inventory, Patience, Proof},
};

/// What a stack is called, here and there.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// The program that is about it: `rebuild-monitoring`.
    pub program: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Its block in the tfvars, and its place in reports: `monitoring`. In sentences it is "the monitoring stack".
    pub key: &'static str,
    /// The name of its VM.
    pub vm: &'static str,
    /// The last component of its module's source.
    pub module: &'static str,
    /// What may stand in the place of the block, for hints: ``a line in `restore.toml` ``.
    pub instead: Option<&'static str>,
    /// What is lost first of all when it is made anew: `the history of all metrics`.
    pub history: &'static str,
    /// What else is only on its disks: `dashboards made by hand, silences, logs`.
    pub besides: &'static str,
}

impl About {
    /// `Restore the monitoring stack`
    pub(crate) fn restoring(&self) -> String {
        format!("Restore the {} stack", self.key)
    }

    /// `Rebuild the monitoring stack`
    pub(crate) fn rebuilding(&self) -> String {
        format!("Rebuild the {} stack", self.key)
    }
}

/// Where a stack is, for [`Stack::services`].
pub struct Place<'a> {
    /// What it is called.
    pub about: &'static About,
    /// The options of every program.
    pub common: &'a Common,
    /// The project.
    pub project: &'a Project,
    /// The environment that has the stack.
    pub environment: &'a Environment,
    /// The address of its VM: as the files tell it, else as its guest does.
    pub address: Option<&'a str>,
}

impl Place<'_> {
    /// The address of its VM; an error when nobody tells.
    pub fn address(&self) -> Result<&str, HomelabError> {
        let key = format!("{}.vm.ip", self.about.key);
        let instead = "`--mode restore`, which also asks the guest";
        self.address.ok_or_else(|| self.environment.absent("where the VM of the stack is", &[&key], instead))
    }
}

/// A stack of the project.
pub trait Stack: Sync {
    /// What it is called.
    fn about(&self) -> &'static About;

    /// What an environment declares of it. An error: a value is there that cannot be meant.
    fn declared(&self, environment: &Environment) -> Result<Option<DeclaredStack>, HomelabError> {
        environment.stack(self.about().key)
    }

    /// The address that `restore.toml` has for it, which counts more than that of the tfvars.
    fn overridden<'p>(&self, _: &'p Project) -> Option<&'p str> {
        None
    }

    /// Where its services are and how they are asked. An error: the files do not tell.
    fn services(&self, place: &Place<'_>) -> Result<Box<dyn Services>, HomelabError>;
}

/// The services of a stack, where they are.
pub trait Services: Send + Sync {
    /// The address of the VM.
    fn address(&self) -> &str;

    /// What is looked at, in the order of a proof: the stable name, and what it is about.
    fn checks(&self) -> Vec<(&'static str, String)>;

    /// What is there at this moment, of all that answers at once: to be compared with later.
    fn take_stock(&self) -> Inventory {
        Inventory::default()
    }

    /// Proves that they work: one result of each of [`Services::checks`], in their order. What was there `before` has to be
    /// there again. A guest that was made a moment ago is new: it has a host key that nobody knows yet.
    fn prove(&self, guest_is_new: bool, before: &Inventory, patience: &Patience<'_>)
    -> anyhow::Result<Proof>;
}

/// A stack for the tests of this crate.
#[cfg(test)]
pub(crate) mod eyes {
    use super::*;
    use crate::HttpServices;

    pub(crate) const EYES: About = About {
        program: "rebuild-eyes",
        version: "1",
        key: "eyes",
        vm: "monitoring-stack",
        module: "eyes-stack",
        instead: None,
        history: "what was seen",
        besides: "what was not",
    };

    pub(crate) struct Eyes;

    impl Stack for Eyes {
        fn about(&self) -> &'static About {
            &EYES
        }

        fn services(&self, place: &Place<'_>) -> Result<Box<dyn Services>, HomelabError> {
            Ok(Box::new(HttpServices::at(place, Vec::new())?))
        }
    }
}
