//! The environment variables that the programs read.

/// A variable, and what it does.
pub struct Variable {
    pub names: &'static [&'static str],
    pub meaning: &'static str,
}

const fn variable(names: &'static [&'static str], meaning: &'static str) -> Variable {
    Variable { names, meaning }
}

pub const VARIABLES: &[Variable] = &[
    variable(&["RESTORE_PROJECT"], "the Terraform project, where `--project` does not name it"),
    variable(
        &["XDG_STATE_HOME", "HOME"],
        "where journals, copies of states and the ledger are kept: `$XDG_STATE_HOME/pve-restore`, else `~/.local/state/pve-restore`",
    ),
    variable(&["SSH_AUTH_SOCK"], "the SSH agent"),
    variable(
        &["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"],
        "credentials of the S3 server, instead of those of the tfvars",
    ),
    variable(
        &["AWS_ENDPOINT_URL_S3", "AWS_S3_ENDPOINT"],
        "the S3 server, where neither `restore.toml` nor the backend block names one",
    ),
    variable(&["AWS_REGION", "AWS_DEFAULT_REGION"], "the region, where the backend block names none"),
    variable(
        &["AWS_CA_BUNDLE", "SSL_CERT_FILE"],
        "certificates to trust for the S3 server, where `restore.toml` names none",
    ),
    variable(&["TF_BIN", "PATH"], "Terraform or OpenTofu, where `--terraform-bin` does not name it"),
    variable(
        &["TF_WORKSPACE", "TF_DATA_DIR"],
        "Terraform's own: the workspace, and the folder in place of `.terraform`",
    ),
    variable(
        &["TF_PLUGIN_CACHE_DIR", "XDG_DATA_HOME"],
        "Terraform's own: where `verify-backups --ready` looks for providers that are at hand",
    ),
    variable(&["NO_COLOR", "TERM"], "no colours when `NO_COLOR` is set, or `TERM` is `dumb`"),
    variable(&["USER", "LOGNAME"], "who is named as the holder of a lock or a claim"),
];

/// The code of every program and of the library, without what is tests only.
#[cfg(test)]
pub fn sources(folder: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("tests") {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            found.extend(text.split("#[cfg(test)]\nmod tests {").next().map(str::to_owned));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use super::*;
    /// The names in calls of what reads a variable: `var("X")`, `set("X")` and so on.
    fn read_by(source: &str) -> impl Iterator<Item = &str> {
        const CALLS: [&str; 6] = ["var(", "var_os(", "set(", "env(", "variables(", "variable("];
        CALLS.into_iter().flat_map(move |call| {
            // `.env(` gives a variable to a child.
            let calls = source.match_indices(call).filter(|(at, _)| !source[..*at].ends_with('.'));
            calls.filter_map(move |(at, _)| {
                let name = source[at + call.len()..].strip_prefix('"')?.split('"').next()?;
                name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_').then_some(name)
            })
        })
    }

    #[test]
    fn every_variable_that_is_read_is_documented_and_no_other() {
        let texts = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates"));
        let read: BTreeSet<_> = texts.iter().flat_map(|text| read_by(text)).collect();
        let documented: BTreeSet<_> = VARIABLES.iter().flat_map(|variable| variable.names).copied().collect();
        assert_eq!(read, documented);
    }
}
