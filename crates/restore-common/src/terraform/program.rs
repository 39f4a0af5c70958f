//! Which program, and its commands.

use std::{
    ffi::OsString,
    fmt,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::Scope;
use crate::{
    homelab::{Backend, Environment, HomelabError, OVERRIDE, Project, Variables},
    remote::{Command, Host},
    s3::Credentials,
    ui::{Secret, sanitize},
};

/// Which of the two it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Terraform.
    Terraform,
    /// `OpenTofu`.
    OpenTofu,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Terraform => "Terraform",
            Self::OpenTofu => "OpenTofu",
        })
    }
}

/// The program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terraform {
    /// Its path, as UTF-8: it stands in commands that are shown.
    pub program: String,
    /// Which one it is.
    pub kind: Kind,
    /// `1.11.4`.
    pub version: String,
}

/// There is none that can be used.
#[derive(Debug, thiserror::Error)]
pub enum NoTerraform {
    /// Nothing of that name.
    #[error("neither `terraform` nor `tofu` is in the path; name it with `--terraform-bin` or `TF_BIN`")]
    NotFound,
    /// What was named is no program.
    #[error("`{path}` ({by}) is not a program that can be run", path = sanitize(path))]
    NotAProgram {
        /// What was named.
        path: String,
        /// Who named it.
        by: &'static str,
    },
    /// It does not say what it is.
    #[error("`{program} version` does not say what it is: {words}", program = sanitize(program))]
    Unknown {
        /// The program.
        program: String,
        /// What it said.
        words: String,
    },
    /// It is too old.
    #[error("`{program}` is {kind} {version}; the backend `s3` of these programs needs {OLDEST_TEXT} or newer", program = sanitize(program))]
    TooOld {
        /// The program.
        program: String,
        /// Which one it is.
        kind: Kind,
        /// Its version.
        version: String,
    },
    /// It could not be asked.
    #[error(transparent)]
    Host(#[from] crate::remote::HostError),
}

/// `endpoints` of the backend came with 1.6.
const OLDEST: (u64, u64) = (1, 6);
const OLDEST_TEXT: &str = "1.6";

/// How long `init` and `plan` may take. Providers are asked, and some are slow.
const LIMIT: Duration = Duration::from_secs(30 * 60);

impl Terraform {
    /// Finds it: what `named` says, else `TF_BIN`, else `terraform` and then `tofu` in the path. Asks for its version.
    pub fn find(
        host: &dyn Host,
        named: Option<&Path>,
        variables: Variables<'_>,
    ) -> Result<Self, NoTerraform> {
        let program = locate(named, variables)?;
        let question = Command::read(&program).arg("version").limit(Duration::from_secs(60));
        let output = host.run(&question)?;
        let unknown = || {
            let words = format!("{} {}", output.stdout.trim(), output.stderr.trim());
            let words = sanitize(words.trim()).chars().take(200).collect();
            NoTerraform::Unknown { program: program.clone(), words }
        };
        let (kind, version) = parse_version(&output.stdout).ok_or_else(unknown)?;
        let is_new_enough = numbers(&version).is_some_and(|numbers| numbers >= OLDEST);
        if !is_new_enough {
            return Err(NoTerraform::TooOld { program, kind, version });
        }
        Ok(Self { program, kind, version })
    }

    /// `terraform -chdir=DIR init -reconfigure`: takes the backend as it is configured now, moves no state.
    pub fn init(&self, dir: &Path) -> Command {
        in_dir(Command::write(&self.program), dir)
            .args(["init", "-reconfigure", "-input=false", "-no-color"])
            .limit(LIMIT)
    }

    /// `terraform -chdir=DIR plan`, for [`super::PlanSummary::parse`]. Without a lock: it is thrown away.
    pub fn plan(&self, dir: &Path) -> Command {
        in_dir(Command::read(&self.program), dir)
            .args(["plan", "-input=false", "-lock=false", "-json"])
            .limit(LIMIT)
    }

    /// `terraform -chdir=DIR plan -target=… -replace=…`, for [`super::PlanSummary::parse`]: what [`Terraform::apply`] would
    /// do.
    pub fn plan_of(&self, dir: &Path, scope: &Scope) -> Command {
        self.plan(dir).args(scope.words())
    }

    /// `terraform -chdir=DIR apply -target=… -replace=…`, for [`super::apply()`]. It waits a minute for a lock.
    pub fn apply(&self, dir: &Path, scope: &Scope) -> Command {
        in_dir(Command::destroy(&self.program), dir)
            .args(["apply", "-input=false", "-auto-approve", "-lock-timeout=60s", "-json"])
            .args(scope.words())
            .limit(LIMIT)
    }

    /// `terraform -chdir=DIR state pull`: the state itself, for [`Document::parse`](crate::state::Document::parse);
    /// nothing when there is none. It holds secrets.
    pub fn state_pull(&self, dir: &Path) -> Command {
        in_dir(Command::read(&self.program), dir).args(["state", "pull"]).limit(LIMIT)
    }

    /// How the operator breaks a lock.
    pub fn force_unlock(program: &str, dir: &Path, id: &str) -> Command {
        in_dir(Command::destroy(program), dir).args(["force-unlock", id])
    }

    /// What its children need in their environment to work in the folder of an environment: credentials, where its state
    /// is in S3 and no override puts another backend in place.
    pub fn surroundings(
        project: &Project,
        environment: &Environment,
        workspace: &str,
        variables: Variables<'_>,
    ) -> Result<Vec<(String, Secret)>, HomelabError> {
        match Backend::read(environment.dir())? {
            Backend::S3(block) if !environment.dir().join(OVERRIDE).exists() => {
                let store = project.state_store(environment, &block, workspace, variables)?;
                Ok(Self::variables(&store.credentials, store.endpoint.authority.as_deref(), workspace))
            }
            _ => Ok(unattended(workspace)),
        }
    }

    /// What its children need in their environment. The newer checksums of S3 are rejected by servers that are not
    /// Amazon's. Source: the AWS SDKs' `request_checksum_calculation`.
    pub fn variables(
        credentials: &Credentials,
        authority: Option<&Path>,
        workspace: &str,
    ) -> Vec<(String, Secret)> {
        let mut variables = unattended(workspace);
        variables.extend([
            plain("AWS_ACCESS_KEY_ID", &credentials.access_key),
            ("AWS_SECRET_ACCESS_KEY".to_owned(), credentials.secret_key.clone()),
            plain("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required"),
            plain("AWS_RESPONSE_CHECKSUM_VALIDATION", "when_required"),
        ]);
        variables
            .extend(credentials.session_token.clone().map(|token| ("AWS_SESSION_TOKEN".to_owned(), token)));
        variables.extend(authority.map(|path| plain("AWS_CA_BUNDLE", &path.display().to_string())));
        variables
    }
}

fn plain(name: &str, value: &str) -> (String, Secret) {
    (name.to_owned(), Secret::from(value.to_owned()))
}

/// What every child needs.
fn unattended(workspace: &str) -> Vec<(String, Secret)> {
    vec![plain("TF_IN_AUTOMATION", "1"), plain("TF_WORKSPACE", workspace)]
}

fn in_dir(command: Command, dir: &Path) -> Command {
    command.arg(format!("-chdir={}", dir.display()))
}

fn locate(named: Option<&Path>, variables: Variables<'_>) -> Result<String, NoTerraform> {
    let by_variable = variables("TF_BIN").filter(|value| !value.is_empty());
    let named = match (named, by_variable) {
        (Some(path), _) => Some((path.to_owned(), "--terraform-bin")),
        (None, Some(path)) => Some((PathBuf::from(path), "TF_BIN")),
        (None, None) => None,
    };
    let path = variables("PATH").unwrap_or_default();
    let Some((program, by)) = named else {
        let found = ["terraform", "tofu"].iter().find_map(|name| in_path(Path::new(name), &path));
        return found.and_then(|path| utf8(&path)).ok_or(NoTerraform::NotFound);
    };
    // A bare name is looked for in the path, as a shell does.
    let found =
        if program.components().count() == 1 { in_path(&program, &path) } else { Some(program.clone()) };
    let found = found.filter(|path| is_program(path)).and_then(|path| utf8(&path));
    found.ok_or_else(|| NoTerraform::NotAProgram { path: program.display().to_string(), by })
}

fn utf8(path: &Path) -> Option<String> {
    let absolute = std::path::absolute(path).ok()?;
    absolute.into_os_string().into_string().ok()
}

fn in_path(name: &Path, path: &OsString) -> Option<PathBuf> {
    std::env::split_paths(path).map(|folder| folder.join(name)).find(|candidate| is_program(candidate))
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The first line that names one of the two; warnings may stand before it.
fn parse_version(text: &str) -> Option<(Kind, String)> {
    text.lines().find_map(|line| {
        let (name, version) = line.split_once(" v")?;
        let kind = match name {
            "Terraform" => Kind::Terraform,
            "OpenTofu" => Kind::OpenTofu,
            _ => return None,
        };
        Some((kind, version.trim().to_owned()))
    })
}

fn numbers(version: &str) -> Option<(u64, u64)> {
    let mut parts = version.split(['.', '-', '+']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::LocalHost;

    /// A folder with a program that says this.
    fn saying(name: &str, words: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join(name);
        std::fs::write(&program, format!("#!/bin/sh\ncat <<'END'\n{words}\nEND\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        (folder, program)
    }

    fn find(named: Option<&Path>, path: &Path) -> Result<Terraform, String> {
        let state = tempfile::tempdir().unwrap();
        let host = LocalHost::new(state.path(), Vec::new()).unwrap();
        let variables = |name: &str| (name == "PATH").then(|| path.as_os_str().to_owned());
        Terraform::find(&host, named, &variables).map_err(|error| error.to_string())
    }

    #[rstest::rstest]
    #[case("terraform", "Terraform v1.11.4\non linux_amd64", Kind::Terraform, "1.11.4")]
    #[case(
        "tofu",
        "\nWarning: no file\n\nOpenTofu v1.12.6-dev\non linux_amd64",
        Kind::OpenTofu,
        "1.12.6-dev"
    )]
    fn it_is_found_in_the_path_and_asked(
        #[case] name: &str,
        #[case] words: &str,
        #[case] kind: Kind,
        #[case] version: &str,
    ) {
        let (folder, program) = saying(name, words);
        let found = find(None, folder.path()).unwrap();
        assert_eq!((found.kind, found.version.as_str()), (kind, version));
        assert_eq!(Path::new(&found.program), program);
    }

    #[test]
    fn what_cannot_be_used_is_said() {
        let (folder, old) = saying("old", "Terraform v1.5.7");
        assert!(find(Some(&old), folder.path()).unwrap_err().contains("is Terraform 1.5.7"));
        assert!(find(None, folder.path()).unwrap_err().contains("--terraform-bin"));
        let absent = folder.path().join("absent");
        assert!(
            find(Some(&absent), folder.path()).unwrap_err().contains("(--terraform-bin) is not a program")
        );
        let (_folder, other) = saying("other", "GNU coreutils");
        assert!(find(Some(&other), folder.path()).unwrap_err().contains("GNU coreutils"));
    }

    #[test]
    fn secrets_go_by_the_environment_only() {
        let credentials = Credentials {
            access_key: "key".into(),
            secret_key: Secret::from("canary".to_owned()),
            session_token: None,
        };
        let variables = Terraform::variables(&credentials, None, "default");
        assert!(
            variables
                .iter()
                .any(|(name, value)| name == "AWS_SECRET_ACCESS_KEY" && value.reveal() == "canary")
        );
        let checksums =
            variables.iter().find(|(name, _)| name == "AWS_REQUEST_CHECKSUM_CALCULATION").unwrap();
        assert_eq!(checksums.1.reveal(), "when_required");
        assert!(!format!("{variables:?}").contains("canary"));
    }
}
