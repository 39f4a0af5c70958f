//! The state of every environment: where the freshest one is, and what is to become of it.

use restore_common::{
    homelab::Environment,
    procedure::Problem,
    s3::Trouble,
    state::LockInfo,
    terraform::read_override,
    ui::{Table, sanitize},
};
use restore_tfstate::{
    copies::{Copies, Copy, local_state},
    fallback::Note,
    home::backup_of,
    imports::{self, Imports},
    site::{Seen, Site},
};
use serde::{Deserialize, Serialize};

use crate::args::{Chosen, Cli};

/// What is in a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InBucket {
    /// The server could not be asked.
    Unknown,
    /// No state.
    Nothing,
    /// This.
    Is(Seen),
}

/// One state as it was found.
pub struct StateLook {
    /// The environment.
    pub environment: String,
    /// What the server has.
    pub in_bucket: InBucket,
    /// The freshest copy on this machine, or the one that the operator chose.
    pub copy: Option<Copy>,
    /// The operator chose it.
    pub is_chosen: bool,
    /// Copies of other histories, which are not considered.
    pub foreign: Vec<Copy>,
    /// The environment works without its bucket at the moment.
    pub on_fallback: bool,
    /// It does not, but files of such work are still there: the way back to the bucket was cut off at its very end.
    pub has_leftovers: bool,
}

impl StateLook {
    /// Looks for the state of an environment. `serves`: the server can be asked.
    pub fn find(site: &Site, chosen: Option<&Chosen>, serves: bool) -> anyhow::Result<Result<Self, Problem>> {
        let on_fallback = match read_override::<Note>(&site.override_file()) {
            Ok(note) => note.is_some(),
            Err(error) => return Ok(Err(restore_tfstate::fallback::foreign_override(site, &error))),
        };
        // First, so that what it has is among the copies.
        let in_bucket = if serves { in_bucket(site)? } else { InBucket::Unknown };
        let mut copies = Copies::find(site)?;
        let copy = match chosen {
            Some(Chosen { file, .. }) => {
                let Some(copy) = Copy::read(file.clone()) else {
                    let problem = Problem::new(format!(
                        "`{}` is not a Terraform state, or cannot be read",
                        file.display()
                    ));
                    return Ok(Err(problem));
                };
                Some(copy)
            }
            // While it works without its bucket, that is the state, whatever else there is.
            None if on_fallback => Copy::read(local_state(site)),
            None if copies.of_the_state.is_empty() => None,
            None => Some(copies.of_the_state.remove(0)),
        };
        Ok(Ok(Self {
            environment: site.environment.clone(),
            in_bucket,
            copy,
            is_chosen: chosen.is_some(),
            foreign: copies.foreign,
            on_fallback,
            has_leftovers: !on_fallback && leftovers(site).iter().any(|path| path.exists()),
        }))
    }

    /// Nothing is left of it, as far as can be known.
    pub fn is_nowhere(&self) -> bool {
        self.copy.is_none() && !matches!(self.in_bucket, InBucket::Is(_))
    }

    /// Whether the server has a state that is no older than what is here.
    pub fn is_served(&self) -> bool {
        matches!(self.in_bucket, InBucket::Is(_)) && !self.is_chosen && !self.on_fallback
    }

    /// The freshest that is known of it.
    pub fn known(&self) -> Option<Seen> {
        let here = self.copy.as_ref().map(|copy| &copy.seen);
        match (&self.in_bucket, here) {
            (_, Some(here)) if self.is_chosen || self.on_fallback => Some(here.clone()),
            (InBucket::Is(there), Some(here)) if here.is_kin_of(there) && here.serial() > there.serial() => {
                Some(here.clone())
            }
            (InBucket::Is(there), _) => Some(there.clone()),
            (_, here) => here.cloned(),
        }
    }

    /// A copy here that is newer than what the server has, or of another history.
    pub fn differs(&self) -> Option<String> {
        let (InBucket::Is(there), Some(copy)) = (&self.in_bucket, &self.copy) else { return None };
        let here = &copy.seen;
        let why = if !here.is_kin_of(there) {
            "of another lineage than"
        } else if here.serial() > there.serial() {
            "newer than"
        } else {
            return None;
        };
        Some(format!(
            "{}: `{}` ({}) is {why} what is in the bucket ({})",
            self.environment,
            copy.path.display(),
            copy.describe(),
            there.describe()
        ))
    }
}

fn in_bucket(site: &Site) -> anyhow::Result<InBucket> {
    match site.current() {
        Ok(Some(object)) => {
            site.keep(&object.bytes);
            Ok(InBucket::Is(Seen::of(&object.bytes)))
        }
        Ok(None) => Ok(InBucket::Nothing),
        Err(error) if error.trouble == Trouble::NoBucket => Ok(InBucket::Nothing),
        Err(error) => Err(error.into()),
    }
}

/// All states as a table.
pub fn table(states: &[StateLook]) -> String {
    let mut table = Table::new(["state of", "in the bucket", "here"]).flexible("here");
    for state in states {
        let there = match &state.in_bucket {
            InBucket::Unknown => "not known".to_owned(),
            InBucket::Nothing => "none".to_owned(),
            InBucket::Is(seen) => seen.describe(),
        };
        let here = state.copy.as_ref().map_or_else(
            || "none".to_owned(),
            |copy| {
                let how = if state.on_fallback { "on fallback: " } else { "" };
                format!("{how}{}", copy.describe())
            },
        );
        table.row([sanitize(&state.environment).into_owned(), there, here]);
    }
    table.render(78)
}

/// What work without the bucket leaves in the environment's folder: the state, and Terraform's own copy of the one before.
pub fn leftovers(site: &Site) -> [std::path::PathBuf; 2] {
    let state = local_state(site);
    let backup = backup_of(&state);
    [state, backup]
}

/// What is to become of one state: data for the journal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StateWork {
    /// The environment.
    pub environment: String,
    /// The workspace.
    pub workspace: String,
    /// The lock that is held while it is written.
    pub lock: LockInfo,
    /// What goes to the bucket if that has none, or an older one.
    pub source: Option<Copy>,
    /// The operator chose it: it wins whatever is there.
    pub chosen: bool,
    /// It also takes the place of an older one of the same history.
    pub newer_wins: bool,
    /// The freshest that was known before the work.
    pub known: Option<Seen>,
    /// It works without its bucket, and goes back to it.
    pub on_fallback: bool,
    /// What is written when there is no state at the end.
    pub imports: Option<Imports>,
    /// Why there are none.
    pub no_imports: Option<String>,
}

impl StateWork {
    /// Decides. `newer_wins`: what the server has may be older than what is here, since it comes from a backup.
    pub fn decide(
        cli: &Cli,
        environments: &[Environment],
        site: &Site,
        look: &StateLook,
        newer_wins: bool,
        needs_imports: bool,
    ) -> Self {
        let (imports, no_imports) = if look.is_nowhere() && needs_imports {
            imports_of(cli, environments, site)
        } else {
            (None, None)
        };
        Self {
            environment: site.environment.clone(),
            workspace: site.workspace.clone(),
            lock: site.lock(),
            source: look.copy.clone(),
            chosen: look.is_chosen,
            newer_wins,
            known: look.known(),
            on_fallback: look.on_fallback,
            imports,
            no_imports,
        }
    }
}

fn imports_of(cli: &Cli, environments: &[Environment], site: &Site) -> (Option<Imports>, Option<String>) {
    let Some(environment) = environments.iter().find(|other| other.name() == site.environment) else {
        return (None, None);
    };
    let reason = "it is neither in the S3 server nor on this machine".to_owned();
    match imports::decide(&cli.common, environment, site, reason) {
        Ok(Ok(imports)) => (Some(imports), None),
        Ok(Err(problems)) => {
            let words: Vec<_> = problems.into_iter().map(|problem| problem.what).collect();
            (None, Some(words.join("; ")))
        }
        Err(error) => (None, Some(format!("{error:#}"))),
    }
}
