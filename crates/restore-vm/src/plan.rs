//! The plan of a restore, from the facts. Pure: the same facts make the same plan.

use restore_common::{
    procedure::{Plan, Question, Step, Undo},
    pve::{Disk, GuestConfig, GuestKind, OnServer, Verification, Vmid},
    ui,
};

use crate::{
    args::CheckLevel,
    assignment::{Assignment, Restore, Start},
    conflicts::Conflict,
    disks::{self, DiskFate, Fate},
    ha::{Managed, set_command},
    live,
    look::Guest,
    record,
    steps::{archive, excluded, ha, links, power, prove, replace, safety},
};

/// Columns that the summary may take beside its indent.
const WIDTH: usize = 78;

/// Builds the plan. `now` is the node's clock: seconds since 1970, UTC.
pub fn build<'a>(what: &Assignment, now: i64) -> Plan<Restore<'a>> {
    let fates = disks::fates(
        what.kind,
        what.present.as_ref().map(|g| &g.config),
        &what.inside.config,
        &what.excluded,
    );
    Plan {
        title: format!("Restore {} on {}", named(what), what.node),
        facts: facts(what, now),
        details: vec![table(&fates)],
        warnings: warnings(what, &fates),
        steps: steps(what),
        checks: prove::checks(what),
        question: question(what),
        subject: subject(what, &fates),
        next: next(what),
    }
}

fn named(what: &Assignment) -> String {
    match what.inside.config.name() {
        Some(name) => format!("{} ({})", what.target_name(), ui::sanitize(name)),
        None => what.target_name(),
    }
}

fn facts(what: &Assignment, now: i64) -> Vec<(String, String)> {
    let archive = &what.archive;
    let age = ui::format::age(archive.ctime, now);
    let mut facts = vec![
        ("from".to_owned(), archive.volid.to_string()),
        ("made".to_owned(), format!("{} ({age}), {}", archive.name.time, ui::format::bytes(archive.size))),
    ];
    if let Some(server) = &archive.server {
        facts.push(("on server".to_owned(), on_server(server, now)));
    }
    if let Some(notes) = &archive.notes {
        facts.push(("notes".to_owned(), notes.clone()));
    }
    let onto = match &what.present {
        None if what.target == what.source => format!("{}, which is gone", what.target_name()),
        None => format!("a new {}, beside {}", what.target_name(), what.source),
        Some(guest) => format!("{}, {}", described(what.kind, what.target, guest), guest.state),
    };
    facts.push(("onto".to_owned(), onto));
    if let Some(pool) = what.present.as_ref().and_then(|guest| guest.pool.as_ref()) {
        facts.push(("pool".to_owned(), format!("{pool}, which it stays in")));
    }
    if let Some(place) = what.placement.described() {
        facts.push(("disks to".to_owned(), place));
    }
    let after = match &what.start {
        Start::Yes if what.live => "checked; it runs while its data still comes".to_owned(),
        Start::Yes if what.link_down => "started with its links down, and checked".to_owned(),
        Start::Yes => "started and checked".to_owned(),
        Start::No(reason) => format!("left stopped: {reason}"),
    };
    facts.push(("afterwards".to_owned(), after));
    if let Some(Managed { sid, before, after }) = &what.ha {
        let says = format!("takes no part meanwhile: {sid} is {before}, afterwards {after}");
        facts.push(("HA".to_owned(), says));
    }
    facts
}

/// `verified 2 days ago, encrypted`.
fn on_server(server: &OnServer, now: i64) -> String {
    let when = server.verified_at.map(|time| format!(" {}", ui::format::age(time, now))).unwrap_or_default();
    let encrypted = if server.encrypted { ", encrypted" } else { "" };
    format!("{}{when}{encrypted}", server.verification.word())
}

fn described(kind: GuestKind, vmid: Vmid, guest: &Guest) -> String {
    match guest.config.name() {
        Some(name) => format!("{kind} {vmid} `{name}`"),
        None => format!("{kind} {vmid}"),
    }
}

fn table(fates: &[DiskFate]) -> String {
    let mut table = ui::Table::new(["disk", "size", "now", "afterwards"]).right("size");
    for row in fates {
        let size = row.size.map(ui::format::bytes).unwrap_or_default();
        let now = ui::sanitize(row.now.as_deref().unwrap_or("-")).into_owned();
        table.row([row.key.clone(), size, now, row.fate.word().to_owned()]);
    }
    table.render(WIDTH)
}

fn warnings(what: &Assignment, fates: &[DiskFate]) -> Vec<String> {
    let mut warnings = about_backup(what);
    let lost: Vec<_> = fates.iter().filter(|f| f.fate == Fate::Lost).map(|f| f.key.as_str()).collect();
    if !lost.is_empty() {
        warnings.push(format!("the content of {} is lost: the backup does not contain it", lost.join(", ")));
    }
    if let Some(guest) = &what.present {
        about_present(what, guest, &mut warnings);
    }
    if let Some(storage) = what.placement.storage.as_ref().filter(|_| spread(what)) {
        warnings
            .push(format!("the disks of the backup lay on several storages; all of them go to `{storage}`"));
    }
    if let Some(devices) = devices(what) {
        warnings.push(format!("the guest starts only where the node has these devices: {devices}"));
    }
    if let (Some(need), Some(room)) = (what.data_size(), what.room)
        && need > room
    {
        let (need, room) = (ui::format::bytes(need), ui::format::bytes(room));
        warnings.push(format!(
            "the disks are {need} in size and {room} are free: they fit only because they are sparse"
        ));
    }
    if what.start == Start::Yes && !what.link_down {
        warnings.extend(what.conflicts.iter().map(in_use));
    }
    warnings
}

/// What speaks against trusting this very backup.
fn about_backup(what: &Assignment) -> Vec<String> {
    let mut warnings = Vec::new();
    for archive in &what.passed_over {
        let reason = archive.unusable().unwrap_or_default();
        warnings.push(format!("`{}` is newer and was passed over: {reason}", archive.volid));
    }
    for (storage, reason) in &what.not_listed {
        warnings.push(format!(
            "storage `{storage}` could not be listed ({reason}): there may be a newer backup on it"
        ));
    }
    let over = what.present.is_some();
    match &what.archive.server {
        None if what.check != CheckLevel::Full && over => warnings.push(
            "the backup is not read to its end before: if it is damaged, that shows when the guest is gone"
                .to_owned(),
        ),
        Some(server) if server.verification != Verification::Ok => {
            let when = if over { "when the guest is gone" } else { "during the restore" };
            warnings
                .push(format!("its server never verified this backup: if it is damaged, that shows {when}"));
        }
        _ => {}
    }
    if let Some(entry) = what.record.as_ref().filter(|entry| record::is_bad(entry)) {
        warnings.push(format!("`verify-backups` found this backup damaged on {}", record::day(entry)));
    }
    if what.bwlimit.is_some() && what.archive.server.is_some() {
        // Of limits it is known for archives only that they are kept.
        warnings.push("a restore from a backup server may not keep to `--bwlimit`".to_owned());
    }
    if what.live {
        warnings.push(live::RISK.to_owned());
    }
    warnings
}

fn in_use(conflict: &Conflict) -> String {
    let Conflict { address, who } = conflict;
    format!("{who} has its address {address} by now: two with one address disturb each other (`--no-start`)")
}

fn about_present(what: &Assignment, guest: &Guest, warnings: &mut Vec<String>) {
    if guest.config.is_left_by_a_failed_restore() {
        let left = "its configuration is what an interrupted restore leaves: there is nothing in it to save";
        warnings.push(format!("{} looks healthy but is not: {left}", what.target_name()));
    } else if what.safety.is_none() {
        warnings
            .push(format!("without a safety backup {} as it is now is gone for good", what.target_name()));
    }
    let snapshots = guest.config.snapshots();
    if !snapshots.is_empty() {
        warnings.push(format!(
            "snapshots will be lost, also when the restore is taken back: {}",
            snapshots.join(", ")
        ));
    }
    for job in &guest.replication {
        warnings.push(format!(
            "the replication job {job} begins again from nothing: it copies every disk once more"
        ));
    }
    let now = guest.config.disks(guest.kind);
    if now.iter().any(|disk| disk.source.contains("base-") && !guest.config.flag("template")) {
        warnings.push(format!(
            "{} is a linked clone: its restored disks are whole ones and take their full size",
            what.target_name()
        ));
    }
    let privilege =
        |config: &GuestConfig| if config.flag("unprivileged") { "an unprivileged" } else { "a privileged" };
    let (before, after) = (privilege(&guest.config), privilege(&what.inside.config));
    if what.kind == GuestKind::Lxc && before != after {
        warnings
            .push(format!("the backup is of {after} container, {} is {before} one now", what.target_name()));
    }
}

/// Devices of the node that the backup's guest holds and the present one does not: it only starts where they are.
fn devices(what: &Assignment) -> Option<String> {
    let is_device = |key: &str| {
        ["hostpci", "usb", "dev", "parallel", "serial"].iter().any(|lead| {
            key.strip_prefix(lead).is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
        })
    };
    let known = |key: &str, value: &str| {
        what.present.as_ref().is_some_and(|guest| guest.config.get(key) == Some(value))
    };
    let of_node = |(key, value): &(&str, &str)| {
        is_device(key) && !value.starts_with("spice") && !value.starts_with("socket") && !known(key, value)
    };
    let found = what.inside.config.settings().filter(of_node);
    let found: Vec<_> = found.map(|(key, value)| format!("{key} ({value})")).collect();
    (!found.is_empty()).then(|| found.join(", "))
}

/// Whether the volumes inside the backup lay on more than one storage.
fn spread(what: &Assignment) -> bool {
    let disks = what.inside.config.disks(what.kind);
    let mut storages: Vec<_> = disks.iter().filter_map(Disk::storage).collect();
    storages.sort();
    storages.dedup();
    storages.len() > 1
}

fn steps<'a>(what: &Assignment) -> Vec<Step<Restore<'a>>> {
    let mut steps = Vec::new();
    if what.archive.server.is_some() {
        let title = "Ask the backup server again what it knows of the backup";
        let step = Step::read("check", title, archive::ask_server);
        steps.push(step.commands(archive::ask_command(&what.archive)));
    } else if what.check == CheckLevel::Full {
        let step = Step::read("check", archive::check_title(what), archive::check);
        steps.push(step.commands(archive::check_commands(what)));
    }
    match &what.present {
        Some(guest) => replace_steps(what, guest, &mut steps),
        None => {
            steps.extend(what.ha.as_ref().map(ha_out_step));
            let title = format!("See what there is of {}", what.target_name());
            let commands = replace::list_volumes(what);
            steps.push(Step::read("stock", title, replace::take_stock).commands(commands));
            steps.push(new_guest_step(what));
        }
    }
    if !what.binds.is_empty() {
        let title = format!("Put the bind mounts {} back", keys(&what.binds));
        steps.push(Step::write("bind-mounts", title, excluded::bind, as_a_whole()));
    }
    if what.link_down {
        steps.push(links_step(what));
    }
    // A live restore has started it already.
    if what.start == Start::Yes && !what.live {
        let command = power::start_command(what.kind, what.target);
        let undo =
            Undo::By { says: format!("stop {} should it run", what.target_name()), run: power::stop_again };
        let step = Step::write("start", format!("Start {}", what.target_name()), power::start, undo);
        steps.push(step.commands([command]).keep_on_failure());
    }
    steps.extend(what.ha.as_ref().map(ha_back_step));
    steps
}

fn ha_out_step<'a>(managed: &Managed) -> Step<Restore<'a>> {
    let Managed { sid, before, .. } = managed;
    let says = format!("give {sid} back to high availability, to be {before}");
    let title = format!("Take {sid} out of high availability, and wait until it has let go");
    let undo = Undo::By { says, run: ha::as_before };
    Step::write("ha-out", title, ha::take_out, undo).commands([set_command(sid, "ignored")])
}

fn ha_back_step<'a>(managed: &Managed) -> Step<Restore<'a>> {
    let Managed { sid, after, .. } = managed;
    let title = format!("Give {sid} back to high availability, to be {after}");
    let undo = Undo::By { says: format!("take {sid} out of high availability again"), run: ha::let_go };
    let step = Step::write("ha-back", title, ha::give_back, undo);
    step.commands([set_command(sid, after)]).keep_on_failure()
}

fn replace_steps<'a>(what: &Assignment, guest: &Guest, steps: &mut Vec<Step<Restore<'a>>>) {
    let target = what.target_name();
    if let Some(storage) = &what.safety {
        let undo = Undo::NotNeeded("the safety backup is kept and named in the report");
        let title = format!("Back {target} up as it is now, to `{storage}`");
        let command = safety::backup_command(what.target, storage, what.bwlimit);
        steps.push(Step::write("safety-backup", title, safety::back_up, undo).commands([command]));
        steps.push(Step::read("safety-check", "Read the safety backup to its end", safety::check));
    }
    let undo = Undo::NotNeeded("the copies are kept and named in the report");
    let command = safety::copy_command(what, "/var/tmp/pve-restore/…");
    let step =
        Step::write("copy-files", format!("Copy the configuration of {target}"), safety::copy_files, undo);
    steps.push(step.commands([command]));
    steps.extend(what.ha.as_ref().map(ha_out_step));
    if guest.is_active() {
        let undo = Undo::By { says: format!("start {target} again"), run: power::start_again };
        let command = power::shutdown_command(what.kind, what.target);
        steps.push(Step::write("stop", format!("Shut {target} down"), power::stop, undo).commands([command]));
    }
    if what.kind == GuestKind::Lxc && !what.excluded.is_empty() {
        let undo = Undo::By {
            says: "put the volumes back into the configuration".to_owned(),
            run: excluded::attach,
        };
        let title =
            format!("Take {} out of the configuration, so that the node keeps them", keys(&what.excluded));
        let step = Step::write("set-aside", title, excluded::set_aside, undo);
        let tee = restore_common::remote::Command::write("tee").arg(what.kind.config_path(what.target));
        steps.push(step.commands([tee]));
    }
    steps.push(over_step(what, guest));
    if !what.excluded.is_empty() {
        let title = format!("Attach {} again", keys(&what.excluded));
        steps.push(Step::write("attach", title, excluded::attach, as_a_whole()));
    }
}

fn as_a_whole<'a>() -> Undo<Restore<'a>> {
    Undo::NotNeeded("the restore before it is taken back as a whole")
}

fn keys(disks: &[Disk]) -> String {
    disks.iter().map(|d| d.key.as_str()).collect::<Vec<_>>().join(", ")
}

fn restore_title(what: &Assignment) -> String {
    let (target, volid) = (what.target_name(), &what.archive.volid);
    match &what.archive.server {
        Some(_) if what.live => format!("Restore {target} from {volid}, and start it at once"),
        Some(_) => format!("Restore {target} from {volid}"),
        None => format!("Restore {target} from {}", volid.file_name()),
    }
}

fn over_step<'a>(what: &Assignment, guest: &Guest) -> Step<Restore<'a>> {
    let target = what.target_name();
    let undo = if what.safety.is_some() {
        Undo::By { says: format!("put {target} back as it was"), run: replace::put_back }
    } else if guest.config.is_left_by_a_failed_restore() {
        Undo::NotNeeded("there was nothing of the guest before")
    } else {
        Undo::Impossible("no safety backup was wanted".to_owned())
    };
    let size = what.data_size().map(|bytes| format!("{} of disks", ui::format::bytes(bytes)));
    let step = Step::destroy("restore", restore_title(what), replace::restore, undo);
    step.commands([what.restore_command()]).expected(size)
}

fn new_guest_step<'a>(what: &Assignment) -> Step<Restore<'a>> {
    let undo = Undo::By {
        says: format!("remove what was made of {}", what.target_name()),
        run: replace::remove_new,
    };
    let size = what.data_size().map(|bytes| format!("{} of disks", ui::format::bytes(bytes)));
    let step = Step::write("restore", restore_title(what), replace::restore, undo);
    step.commands([what.restore_command()]).expected(size)
}

fn links_step<'a>(what: &Assignment) -> Step<Restore<'a>> {
    let cards: Vec<_> = links::cards(&what.inside.config).into_iter().map(|(key, _)| (key, "…")).collect();
    let keys: Vec<_> = cards.iter().map(|(key, _)| *key).collect();
    let title = format!("Set the links of {} down", keys.join(", "));
    let undo = Undo::NotNeeded("the restore before it is taken back as a whole");
    let command = links::command(what.kind, what.target, &cards, true);
    Step::write("links-down", title, links::set_down, undo).commands([command])
}

fn question(what: &Assignment) -> Question {
    match &what.present {
        Some(guest) => Question::Type {
            says: match guest.config.snapshots().len() {
                0 => format!("{} will be overwritten:", what.target_name()),
                1 => format!("{} will be overwritten and its snapshot lost:", what.target_name()),
                n => format!("{} will be overwritten and its {n} snapshots lost:", what.target_name()),
            },
            word: what.target.to_string(),
        },
        None => Question::YesNo(format!("Restore {}?", what.target_name())),
    }
}

fn subject(what: &Assignment, fates: &[DiskFate]) -> serde_json::Value {
    serde_json::json!({
        "environment": what.environment,
        "node": what.node,
        "kind": what.kind,
        "vmid": what.source,
        "target_id": what.target,
        "name": what.inside.config.name(),
        "archive": what.archive.volid,
        "archive_time": what.archive.name.time.to_string(),
        "archive_size": what.archive.size,
        "server": what.archive.server,
        "overwrites": what.present.is_some(),
        "ha": what.ha,
        "disks": fates,
    })
}

fn next(what: &Assignment) -> Vec<String> {
    let command = match (&what.start, &what.ha) {
        (Start::Yes, _) => return Vec::new(),
        (Start::No(_), Some(managed)) => set_command(&managed.sid, "started"),
        (Start::No(_), None) => power::start_command(what.kind, what.target),
    };
    vec![format!("start it when you are ready: `{command}` on {}", what.node)]
}
