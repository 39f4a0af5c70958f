//! Man pages.

use std::{fs, path::Path};

use anyhow::Context as _;
use clap::Command;
use clap_mangen::Man;
use roff::{Roff, bold, roman};

use crate::{environment::VARIABLES, programs};

/// What is of use beside one of the programs.
const DOCUMENTS: &str = "/usr/share/doc/pve-restore";

pub fn write(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for command in programs::all() {
        let path = folder.join(format!("{}.1", command.get_name()));
        fs::write(&path, page(command)?).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn page(command: Command) -> anyhow::Result<Vec<u8>> {
    let name = command.get_name().to_owned();
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let title = name.to_uppercase();
    // No date: the same version is to make the same page on every day.
    let title = [&title, "1", "\"\"", concat!("pve-restore ", env!("CARGO_PKG_VERSION")), "pve-restore"];
    let man = Man::new(command);
    let mut page = Vec::new();
    Roff::new().control("TH", title).to_writer(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    after(&help).to_writer(&mut page)?;
    common(&name).to_writer(&mut page)?;
    Ok(page)
}

/// What closes a program's `--help`: line for line, a section for each heading.
fn after(help: &str) -> Roff {
    let mut roff = Roff::new();
    for line in help.lines() {
        match line.strip_suffix(':').filter(|_| !line.starts_with(' ')) {
            Some(heading) => {
                roff.control("fi", []);
                roff.control("SH", [heading.to_uppercase().as_str()]);
                roff.control("nf", []);
            }
            None => {
                roff.text([roman(line)]);
            }
        }
    }
    roff.control("fi", []);
    roff
}

/// What every page ends with.
fn common(name: &str) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["ENVIRONMENT"]);
    for variable in VARIABLES {
        roff.control("TP", []);
        let mut words = Vec::new();
        for (number, name) in variable.names.iter().enumerate() {
            words.extend((number > 0).then(|| roman(", ")));
            words.push(bold(*name));
        }
        roff.text(words);
        roff.text([roman(variable.meaning)]);
    }
    roff.control("SH", ["FILES"]);
    let files = [
        ("restore.toml", "at the project's root: what the tfvars do not say, or otherwise"),
        ("~/.ssh/config, ~/.ssh/known_hosts", "honoured as by ssh(1)"),
        (DOCUMENTS, "how to get through a disaster, and what every message means"),
    ];
    for (file, meaning) in files {
        roff.control("TP", []);
        roff.text([bold(file)]);
        roff.text([roman(meaning)]);
    }
    roff.control("SH", ["SEE ALSO"]);
    let others: Vec<String> = programs::all()
        .iter()
        .map(|command| command.get_name().to_owned())
        .filter(|other| other != name)
        .map(|other| format!("{other}(1)"))
        .collect();
    roff.text([roman(others.join(", "))]);
    roff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_every_option_and_every_variable() {
        for command in programs::all() {
            let page = String::from_utf8(page(command.clone()).unwrap()).unwrap().replace("\\-", "-");
            for long in command
                .get_arguments()
                .filter(|option| !option.is_hide_set())
                .filter_map(|option| option.get_long())
            {
                assert!(page.contains(&format!("--{long}")), "{}: --{long}", command.get_name());
            }
            for name in VARIABLES.iter().flat_map(|variable| variable.names) {
                assert!(page.contains(name), "{}: {name}", command.get_name());
            }
        }
    }
}
