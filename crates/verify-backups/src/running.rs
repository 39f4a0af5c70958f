//! Whether the guests that run can be reached, as their users would.

use std::{collections::BTreeMap, time::Duration};

use restore_common::{
    contact::at_once,
    homelab::{Environment, GuestChecks, Project},
    probe::{self, Ping, SshBanner, Tcp},
    pve::{
        PveError, RunningGuest, Vmid, addresses_command, first_address, running_guests,
        running_guests_questions,
    },
    remote::{Host, ReadOnly},
    ui::sanitize,
};

use crate::{
    codes::{
        node::COULD_NOT_CHECK,
        running::{NOT_ASKED, STOPPED, UNREACHABLE},
    },
    finding::Finding,
    nodes::Looked,
    quick::{GuestNow, Look},
    report::GuestPart,
};

/// How long one question may take. What runs is up already, so none is repeated.
const ATTEMPT: Duration = Duration::from_secs(3);

/// So many guests are asked at the same time.
const AT_ONCE: usize = 32;

/// What the project says about guests.
pub struct Known<'a> {
    /// `restore.toml`.
    pub project: &'a Project,
    /// The tfvars.
    pub environments: &'a [Environment],
}

impl Known<'_> {
    /// By its number in `restore.toml`, by its name in the tfvars, else by its own configuration.
    fn checks(&self, guest: &GuestNow) -> GuestChecks {
        let checks = self.project.checks(guest.vmid);
        let name = guest.config.name();
        let declared = || self.environments.iter().find_map(|e| name.and_then(|name| e.guest(name)));
        let declared = || declared().and_then(|guest| guest.address.clone());
        let configured = || guest.config.static_addresses().first().map(|address| (*address).to_owned());
        let address = checks.address.clone().or_else(declared).or_else(configured);
        GuestChecks { address, ..checks }
    }
}

/// Asks every running guest of every node, and puts what is found to the guests.
pub fn look(looked: &mut [Looked], known: &Known<'_>) -> anyhow::Result<()> {
    let found = at_once(looked, |looked| match (&looked.contact.host, &looked.look) {
        (Ok(host), Some(look)) => of_node(&ReadOnly(host.as_ref()), look, &looked.part.guests, known),
        // That it could not be asked is in the report already.
        _ => Ok(BTreeMap::new()),
    })?;
    for (looked, found) in looked.iter_mut().zip(found) {
        match found {
            Ok(mut found) => {
                for guest in &mut looked.part.guests {
                    guest.findings.extend(found.remove(&guest.vmid));
                }
            }
            Err(error) => {
                let words = format!("which guests run and answer: {error:#}");
                looked.part.findings.push(Finding::new(&COULD_NOT_CHECK, words));
            }
        }
    }
    Ok(())
}

/// A guest that runs, and how it is asked.
struct Subject {
    vmid: Vmid,
    checks: GuestChecks,
}

fn of_node(
    host: &dyn Host,
    look: &Look,
    wanted: &[GuestPart],
    known: &Known<'_>,
) -> anyhow::Result<BTreeMap<Vmid, Finding>> {
    let running = running(host, look)?;
    let runs = |guest: &GuestNow| running.iter().any(|running| running.vmid == guest.vmid);
    let asked = |guest: &&GuestNow| wanted.iter().any(|part| part.vmid == guest.vmid);
    let (up, down): (Vec<_>, Vec<_>) = look.guests.iter().filter(asked).partition(|guest| runs(guest));
    let idle = down.into_iter().filter(|guest| guest.config.flag("onboot") && !guest.config.flag("template"));
    let mut found: BTreeMap<Vmid, Finding> =
        idle.map(|guest| (guest.vmid, Finding::new(&STOPPED, "it has onboot: 1 and does not run"))).collect();
    let subjects = with_addresses(host, &up, known)?;
    for some in subjects.chunks(AT_ONCE) {
        let answers = at_once(some, |subject| reach(&subject.checks))?;
        found.extend(some.iter().zip(answers).filter_map(|(subject, answer)| Some((subject.vmid, answer?))));
    }
    Ok(found)
}

fn running(host: &dyn Host, look: &Look) -> Result<Vec<RunningGuest>, PveError> {
    let questions = running_guests_questions();
    let answers = host.run_all(&questions)?;
    let mut running = running_guests(host, &look.facts.name, &questions, &answers)?;
    running.retain(|guest| guest.node == look.facts.name.as_str());
    Ok(running)
}

/// Guests whose address is written nowhere are asked for it themselves, all in one execution.
fn with_addresses(
    host: &dyn Host,
    guests: &[&GuestNow],
    known: &Known<'_>,
) -> Result<Vec<Subject>, PveError> {
    let subject = |guest: &&GuestNow| Subject { vmid: guest.vmid, checks: known.checks(guest) };
    let mut subjects: Vec<Subject> = guests.iter().map(subject).collect();
    let silent: Vec<usize> = (0..guests.len()).filter(|&at| subjects[at].checks.address.is_none()).collect();
    if silent.is_empty() {
        return Ok(subjects);
    }
    let question = |&at: &usize| addresses_command(guests[at].kind, guests[at].vmid);
    let answers = host.run_all(&silent.iter().map(question).collect::<Vec<_>>())?;
    for (at, answer) in silent.into_iter().zip(answers) {
        subjects[at].checks.address = first_address(guests[at].kind, &answer);
    }
    Ok(subjects)
}

/// Every port that has to answer is asked, and ping where there is none.
fn reach(checks: &GuestChecks) -> Option<Finding> {
    let Some(address) = &checks.address else {
        return Some(Finding::new(&NOT_ASKED, "no address of it is known"));
    };
    if checks.ports.is_empty() {
        return by_ping(address, checks.ping);
    }
    let silent = |&port: &u16| Some(format!("port {port}: {}", no_answer(address, port, checks.ssh_port)?));
    let silent: Vec<String> = checks.ports.iter().filter_map(silent).collect();
    let words = || format!("{}, {}", sanitize(address), silent.join(", "));
    (!silent.is_empty()).then(|| Finding::new(&UNREACHABLE, words()))
}

/// What was seen in place of an answer.
fn no_answer(address: &str, port: u16, ssh_port: u16) -> Option<String> {
    if port == ssh_port {
        return match probe::ssh_banner(address, port, ATTEMPT) {
            SshBanner::Ssh(_) => None,
            seen => Some(seen.to_string()),
        };
    }
    match probe::tcp(address, port, ATTEMPT) {
        Tcp::Open => None,
        seen => Some(seen.to_string()),
    }
}

fn by_ping(address: &str, pings: bool) -> Option<Finding> {
    if !pings {
        return Some(Finding::new(&NOT_ASKED, "it has no port and no ping to be asked by"));
    }
    match probe::ping(address, ATTEMPT) {
        Ping::Answered => None,
        Ping::NoAnswer => {
            Some(Finding::new(&UNREACHABLE, format!("{} does not answer to ping", sanitize(address))))
        }
        Ping::NotAsked(reason) => Some(Finding::new(&NOT_ASKED, reason)),
    }
}
