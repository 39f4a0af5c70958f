//! Man pages, shell completions and reference tables, made from the programs themselves.
//!
//! `restore-pages man DIR`, `restore-pages completions DIR`, `restore-pages tables [--check] FILE…`

#![allow(missing_docs, unreachable_pub, reason = "nobody else sees it")]

mod completions;
mod environment;
mod keys;
mod man;
mod programs;
mod tables;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

/// Makes what is made from the programs
#[derive(Parser)]
#[command(name = "restore-pages")]
struct Cli {
    #[command(subcommand)]
    make: Make,
}

#[derive(Subcommand)]
enum Make {
    /// A man page of each program
    Man { folder: PathBuf },
    /// Completions of each program for bash, zsh and fish
    Completions { folder: PathBuf },
    /// The tables of the documents
    Tables {
        /// Change nothing, fail where a document says something else
        #[arg(long)]
        check: bool,
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

fn main() -> ExitCode {
    let made = match Cli::parse().make {
        Make::Man { folder } => man::write(&folder),
        Make::Completions { folder } => completions::write(&folder),
        Make::Tables { check, files } => files.iter().try_for_each(|file| tables::update(file, check)),
    };
    match made {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
