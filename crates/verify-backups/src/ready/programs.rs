//! The programs of this collection: which of them are here, and whether they belong together.

use std::{
    env,
    path::{Path, PathBuf},
    time::Duration,
};

use restore_common::remote::{Command, Host, ReadOnly};

use crate::{
    app::{PROGRAM, VERSION},
    codes::ready as codes,
    report::ReadyPart,
};

const CHECK: &str = "program";

/// What a disaster needs besides this one.
const OTHERS: [&str; 4] = ["restore-vm", "restore-tfstate", "rebuild-minio", "rebuild-monitoring"];

pub(super) fn look(here: &dyn Host) -> Vec<ReadyPart> {
    let own = env::current_exe().unwrap_or_else(|_| PathBuf::from(PROGRAM));
    let seen = format!("{VERSION}: {}", own.display());
    let mut parts = vec![ReadyPart::ready(CHECK, PROGRAM, seen)];
    let folder = own.parent().map(Path::to_owned);
    parts.extend(OTHERS.map(|name| other(here, name, folder.as_deref())));
    parts
}

/// Beside this one, else in the path.
fn other(here: &dyn Host, name: &str, folder: Option<&Path>) -> ReadyPart {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut places = folder.map(Path::to_owned).into_iter().chain(env::split_paths(&path));
    let Some(program) = places.find_map(|place| Some(place.join(name)).filter(|file| file.is_file())) else {
        return ReadyPart::lacking(
            CHECK,
            name,
            &codes::PROGRAM,
            "it is neither beside this one nor in the path",
        );
    };
    let shown = program.display().to_string();
    let question = Command::read(&shown).arg("--version").limit(Duration::from_secs(10));
    let said = match ReadOnly(here).run(&question) {
        Ok(output) => output.stdout.trim().to_owned(),
        Err(error) => return ReadyPart::lacking(CHECK, name, &codes::NOT_ASKED, error.to_string()),
    };
    if said == format!("{name} {VERSION}") {
        ReadyPart::ready(CHECK, name, format!("{VERSION}: {shown}"))
    } else {
        let words = format!("`{shown}` says `{said}`, this is {VERSION}");
        ReadyPart::lacking(CHECK, name, &codes::PROGRAM, words)
    }
}
