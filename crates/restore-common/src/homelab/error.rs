//! What can be wrong with a project's files.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use crate::ui::sanitize;

/// A project that cannot be used as it is. Nothing was asked of any node.
#[derive(Debug, thiserror::Error)]
pub enum HomelabError {
    /// No parent folder is a project.
    #[error(
        "no Terraform project found: neither {} nor a folder above it holds `{}`; \
         name the project with `--project DIR` or `RESTORE_PROJECT`",
        shown(from),
        super::ENVIRONMENTS
    )]
    NoProject {
        /// The folder the search began in.
        from: PathBuf,
    },
    /// The folder that was named is not a project.
    #[error(
        "{} ({by}) is not a project: it holds neither `{}` nor `{}`",
        shown(path),
        super::ENVIRONMENTS,
        super::OVERRIDES
    )]
    NotAProject {
        /// The folder.
        path: PathBuf,
        /// Who named it: `--project` or `RESTORE_PROJECT`.
        by: &'static str,
    },
    /// No environment has any value.
    #[error(
        "no `terraform.tfvars` or `*.auto.tfvars` found; searched {}; \
         name another project with `--project DIR` or describe the nodes in `{}`",
        list(searched),
        super::OVERRIDES
    )]
    NoTfvars {
        /// The folders that were searched.
        searched: Vec<PathBuf>,
    },
    /// A file does not parse, or holds a value that cannot be what its key asks for.
    #[error("{}:{line}:{column}: {reason}", sanitize(&path.to_string_lossy()))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// What is wrong, never with the value itself: it may be a secret.
        reason: String,
    },
    /// A file or folder cannot be read.
    #[error("could not read {}: {source}", shown(path))]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no environment of that name.
    #[error(
        "there is no environment `{}`; the project has {}; choose one with `--env`",
        sanitize(name),
        names(known)
    )]
    UnknownEnvironment {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// A value that is needed is nowhere.
    #[error(
        "environment `{}` does not say {what}: no {} in {}; set it there or use {instead}",
        sanitize(environment),
        names(keys),
        searched_in(searched)
    )]
    Absent {
        /// The environment.
        environment: String,
        /// What is missing, in words.
        what: &'static str,
        /// The keys that would hold it.
        keys: Vec<String>,
        /// The files that were read, or the folder when it has none.
        searched: Vec<PathBuf>,
        /// The flag or the key of `restore.toml` that stands in for it.
        instead: &'static str,
    },
    /// More than one of these.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Several(Vec<HomelabError>),
}

impl HomelabError {
    /// An error at a byte offset of a file's text.
    pub(super) fn at(path: &Path, text: &str, offset: usize, reason: impl fmt::Display) -> Self {
        let (line, column) = position(text, offset);
        // The reason may quote a key; parsers also use several lines.
        let reason = sanitize(&reason.to_string().trim().replace('\n', ", ")).into_owned();
        Self::Invalid { path: path.to_owned(), line, column, reason }
    }

    pub(super) fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Unreadable { path: path.to_owned(), source }
    }
}

/// Line and column, both from 1, of a byte offset.
pub(super) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// The whole text of a file that must be UTF-8. A byte order mark is dropped.
pub(super) fn read_text(path: &Path) -> Result<String, HomelabError> {
    let bytes = std::fs::read(path).map_err(HomelabError::unreadable(path))?;
    match String::from_utf8(bytes) {
        Ok(mut text) => {
            if text.starts_with('\u{feff}') {
                text.remove(0);
            }
            Ok(text)
        }
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(&error.as_bytes()[..valid]).into_owned();
            Err(HomelabError::at(path, &text, valid, "not UTF-8 text"))
        }
    }
}

fn shown(path: &Path) -> String {
    format!("`{}`", sanitize(&path.to_string_lossy()))
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| shown(path)).collect::<Vec<_>>().join(", ")
}

fn searched_in(paths: &[PathBuf]) -> String {
    if paths.is_empty() { "any file".to_owned() } else { list(paths) }
}

fn names(names: &[String]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    names.iter().map(|name| format!("`{}`", sanitize(name))).collect::<Vec<_>>().join(", ")
}
