//! A Terraform project that keeps its state in S3, to which the real Terraform can be applied.
//!
//! Its resources are `terraform_data`, whose provider is built in. Each [release](Project::release) that is applied
//! changes some, replaces some, and adds or removes some.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

pub use crate::project::ENVIRONMENTS;
use crate::{
    installed, project,
    s3::{Credentials, S3Server},
    secrets,
};

/// A secret inside of every state. It should appear nowhere else.
pub const CANARY: &str = "canary-state-4be1d97a30";

/// How long an apply may take to reach its gate.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks at whether it has.
const PAUSE: Duration = Duration::from_millis(20);

const FILES: [(&str, &str); 2] = [
    ("main.tf", include_str!("../data/terraform/main.tf")),
    ("versions.tf", include_str!("../data/terraform/versions.tf")),
];
const COMMON_VARIABLES: &str = include_str!("../data/terraform/common_variables.tf");
const MONITORING_VARIABLES: &str = include_str!("../data/terraform/monitoring_variables.tf");
const BACKEND: &str = include_str!("../data/terraform/backend.tf");

/// The program: `$TF_BIN`, else the first in the path, else the OpenTofu that `cargo xtask servers` built.
pub fn program() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("TF_BIN").filter(|named| !named.is_empty()) {
        return Some(PathBuf::from(named));
    }
    let path = std::env::var_os("PATH")?;
    let mut candidates = std::env::split_paths(&path).map(|folder| folder.join("terraform"));
    candidates.find(|candidate| candidate.is_file()).or_else(|| installed::find("tofu"))
}

/// Whether there is a Terraform. That there is none is said; in CI it is an error.
pub fn is_installed() -> io::Result<bool> {
    if program().is_some() {
        return Ok(true);
    }
    let words = "terraform is neither `$TF_BIN` nor in the path; `cargo xtask servers` installs OpenTofu";
    if std::env::var_os("CI").is_some() {
        return Err(io::Error::new(io::ErrorKind::NotFound, words));
    }
    eprintln!("SKIPPED: {words}");
    Ok(false)
}

/// A project in the usual layout.
#[derive(Debug)]
pub struct Project {
    home: PathBuf,
    root: PathBuf,
    credentials: Credentials,
    authority: Option<PathBuf>,
}

impl Drop for Project {
    fn drop(&mut self) {
        secrets::assert_kept(&[self.home.clone(), self.root.clone()]);
    }
}

impl Project {
    /// Writes a project below `folder`, and a home. Every environment's backend is active.
    pub fn create(folder: &Path, server: &dyn S3Server) -> io::Result<Self> {
        let root = folder.join("project");
        for name in ENVIRONMENTS {
            let environment = project::environment(&root, name);
            fs::create_dir_all(&environment)?;
            let common = project::common_tfvars(name, "pve", IpAddr::V4(Ipv4Addr::LOCALHOST));
            let guests = project::guests_tfvars(name, "127.0.0.1", "127.0.0.1");
            fs::write(environment.join("terraform.tfvars"), common + &guests)?;
        }
        fs::create_dir_all(folder.join("home"))?;
        Self::add_to(&root, server)
    }

    /// Makes the project of a [lab](crate::lab)'s operator one that Terraform can work with.
    pub fn add_to(root: &Path, server: &dyn S3Server) -> io::Result<Self> {
        let authority = server.authority().map(Path::to_owned);
        let project = Self::lay_out(root, &server.endpoint(), server.credentials(), authority)?;
        project.add_minio(server)?;
        Ok(project)
    }

    /// The same for a server that is not there yet; without a word about it in `terraform.tfvars`.
    pub(crate) fn lay_out(
        root: &Path,
        endpoint: &str,
        credentials: &Credentials,
        authority: Option<PathBuf>,
    ) -> io::Result<Self> {
        let shared = project::proxmox(root).join("shared");
        fs::create_dir_all(&shared)?;
        fs::write(shared.join("common_variables.tf"), COMMON_VARIABLES)?;
        let project = Self {
            home: root.with_file_name("home"),
            root: root.to_owned(),
            credentials: credentials.clone(),
            authority,
        };
        for name in ENVIRONMENTS {
            let folder = project.environment(name);
            for (file, text) in FILES {
                fs::write(folder.join(file), text)?;
            }
            symlink("../../shared/common_variables.tf", folder.join("common_variables.tf"))?;
            let secret = format!("grafana_admin_password = \"{CANARY}\"\n");
            fs::write(folder.join("secret.auto.tfvars"), secret)?;
            let backend = BACKEND.replace("ENVIRONMENT", name).replace("ENDPOINT", endpoint);
            fs::write(folder.join("backend.tf"), backend)?;
        }
        Ok(project)
    }

    fn add_minio(&self, server: &dyn S3Server) -> io::Result<()> {
        let folder = self.environment("monitoring");
        fs::write(folder.join("variables.tf"), MONITORING_VARIABLES)?;
        let endpoint = server.endpoint();
        let authority = endpoint.split_once("://").map_or("", |(_, authority)| authority);
        let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "9000"));
        let Credentials { access_key, secret_key } = &self.credentials;
        let path = folder.join("terraform.tfvars");
        let before = fs::read_to_string(&path)?;
        let minio = format!(
            "\nminio = {{\n  ip                = \"{}\"\n  root_user         = \"{access_key}\"\n  \
             root_password     = \"{secret_key}\"\n  port              = {port}\n  console_port      = 9001\n  \
             data_disk_size_gb = 4\n  buckets           = [\"tfstate-prod\", \"tfstate-lab\", \"tfstate-monitoring\"]\n}}\n",
            host.trim_matches(['[', ']'])
        );
        fs::write(path, before + &minio)
    }

    /// Makes the bucket of every environment, with versioning.
    pub fn make_buckets(&self, server: &dyn S3Server) -> io::Result<()> {
        let client = server.client()?;
        ENVIRONMENTS.iter().try_for_each(|name| client.create_bucket(&bucket(name), true))
    }

    /// The project's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of one environment.
    pub fn environment(&self, name: &str) -> PathBuf {
        project::environment(&self.root, name)
    }

    /// Puts `backend.tf` into a comment, line by line: the state is a file in the environment's folder.
    pub fn comment_out_backend(&self, environment: &str) -> io::Result<()> {
        self.change_backend(environment, |line| {
            if line.starts_with('#') { line.to_owned() } else { format!("# {line}") }
        })
    }

    /// Takes it out of the comment.
    pub fn activate_backend(&self, environment: &str) -> io::Result<()> {
        self.change_backend(environment, |line| line.strip_prefix("# ").unwrap_or(line).to_owned())
    }

    fn change_backend(&self, environment: &str, change: impl Fn(&str) -> String) -> io::Result<()> {
        let path = self.environment(environment).join("backend.tf");
        let text: Vec<String> = fs::read_to_string(&path)?.lines().map(change).collect();
        fs::write(path, text.join("\n") + "\n")
    }

    /// What the next apply makes: the output `release` is this number, `terraform_data.slot` has `number % 3` instances.
    pub fn release(&self, environment: &str, number: u32) -> io::Result<()> {
        fs::write(self.environment(environment).join("release.auto.tfvars"), format!("release = {number}\n"))
    }

    /// The environment variables of an operator who works with this project.
    pub fn variables(&self) -> Vec<(String, String)> {
        let home = self.home.display();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut pairs = vec![
            ("HOME", home.to_string()),
            ("XDG_STATE_HOME", format!("{home}/.local/state")),
            ("PATH", format!("{home}/bin:{path}")),
            ("AWS_ACCESS_KEY_ID", self.credentials.access_key.clone()),
            ("AWS_SECRET_ACCESS_KEY", self.credentials.secret_key.clone()),
            // The newer default is more than every S3 server understands.
            ("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required".to_owned()),
            ("CHECKPOINT_DISABLE", "1".to_owned()),
        ];
        if let Some(authority) = &self.authority {
            pairs.push(("SSL_CERT_FILE", authority.display().to_string()));
        }
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Terraform with these words, in an environment's folder.
    pub fn command(&self, environment: &str, words: &[&str]) -> io::Result<Command> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, "there is no terraform");
        let mut command = Command::new(program().ok_or_else(missing)?);
        command.args(words).env_clear().envs(self.variables()).env("TF_IN_AUTOMATION", "1");
        command.stdin(Stdio::null()).current_dir(self.environment(environment));
        Ok(command)
    }

    /// `terraform init`.
    pub fn init(&self, environment: &str) -> io::Result<()> {
        self.run(environment, &["init", "-input=false", "-no-color"])
    }

    /// `terraform apply`, without a question.
    pub fn apply(&self, environment: &str) -> io::Result<()> {
        self.run(environment, &["apply", "-input=false", "-no-color", "-auto-approve"])
    }

    /// Whether `terraform plan` would change anything, outputs as well.
    pub fn has_changes(&self, environment: &str) -> io::Result<bool> {
        let words = ["plan", "-input=false", "-no-color", "-detailed-exitcode"];
        let output = self.command(environment, &words)?.output()?;
        match output.status.code() {
            Some(0) => Ok(false),
            Some(2) => Ok(true),
            _ => Err(failure(&words, &output)),
        }
    }

    /// Begins an apply of a new release and comes back while it stands in the middle, holding the lock.
    pub fn apply_held(&self, environment: &str) -> io::Result<Held> {
        let gate = tempfile::tempdir()?;
        let mut command =
            self.command(environment, &["apply", "-input=false", "-no-color", "-auto-approve"])?;
        let child =
            command.env("LAB_GATE", gate.path()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut held = Held { child, gate };
        let deadline = Instant::now() + PATIENCE;
        while !held.gate.path().join("reached").exists() {
            if held.child.try_wait()?.is_some() || Instant::now() > deadline {
                return Err(io::Error::other("the apply did not reach its gate"));
            }
            std::thread::sleep(PAUSE);
        }
        Ok(held)
    }

    /// Terraform with these words, which has to succeed.
    pub fn run(&self, environment: &str, words: &[&str]) -> io::Result<()> {
        let output = self.command(environment, words)?.output()?;
        if output.status.success() { Ok(()) } else { Err(failure(words, &output)) }
    }
}

/// The bucket of an environment's state.
pub fn bucket(environment: &str) -> String {
    format!("tfstate-{environment}")
}

/// An apply that stands in the middle; at drop it is killed, and its lock stays.
#[derive(Debug)]
pub struct Held {
    child: Child,
    gate: tempfile::TempDir,
}

impl Held {
    /// Lets it go on, and waits for its end.
    pub fn let_go(mut self) -> io::Result<()> {
        fs::write(self.gate.path().join("open"), "")?;
        let status = self.child.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(io::Error::other(format!("the apply ended with {status}")))
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // The provisioner's shell ends with the folder of the gate.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn failure(words: &[&str], output: &Output) -> io::Error {
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    io::Error::other(format!("`terraform {}` failed: {said}", words.join(" ")))
}
