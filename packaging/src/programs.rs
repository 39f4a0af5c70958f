//! The programs there are.

use clap::{Command, CommandFactory as _};

/// The command line of every program.
pub fn all() -> [Command; 5] {
    [
        rebuild_minio::args::Cli::command(),
        rebuild_monitoring::args::Cli::command(),
        restore_vm::args::Cli::command(),
        restore_tfstate::args::Cli::command(),
        verify_backups::args::Cli::command(),
    ]
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    /// Every crate that has a program is in the package.
    #[test]
    fn no_program_is_forgotten() {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
        let folders = fs::read_dir(crates).unwrap().map(|entry| entry.unwrap().path());
        let programs = folders.filter(|folder| folder.join("src/main.rs").exists());
        let there: BTreeSet<_> =
            programs.map(|folder| folder.file_name().unwrap().to_str().unwrap().to_owned()).collect();
        assert_eq!(
            super::all().map(|command| command.get_name().to_owned()).into_iter().collect::<BTreeSet<_>>(),
            there
        );
    }

    #[test]
    fn every_command_line_is_consistent() {
        super::all().into_iter().for_each(clap::Command::debug_assert);
    }

    #[test]
    fn every_help_fits_on_two_screens_of_80_columns() {
        for program in super::all() {
            let help = program.clone().term_width(80).render_help().to_string();
            assert!(help.lines().count() <= 88, "{} lines:\n{help}", help.lines().count());
            assert!(help.lines().all(|line| line.chars().count() <= 80), "{help}");
            assert!(help.contains("Examples:") && help.contains("130"), "{help}");
        }
    }
}
