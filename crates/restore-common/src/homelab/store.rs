//! Where the state of an environment is in S3, from all that may say so.

use std::{ffi::OsString, path::PathBuf};

use super::{
    Backend, Environment, Minio, Project,
    backend::S3Backend,
    error::HomelabError,
    overrides::{EnvironmentOverride, S3Override},
};
use crate::{
    s3::{Credentials, Endpoint},
    ui::Secret,
};

/// How environment variables are looked up.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Where the state of one workspace of an environment is.
#[derive(Clone, Debug)]
pub struct StateStore {
    /// The server.
    pub endpoint: Endpoint,
    /// The bucket.
    pub bucket: String,
    /// The key of the state.
    pub key: String,
    /// Whether Terraform locks with a file beside the state.
    pub lockfile: bool,
    /// Who asks.
    pub credentials: Credentials,
}

impl Project {
    /// The S3 server that some environment declares. Files that cannot be read matter only where no other one tells.
    pub fn minio(&self) -> Result<Option<Minio>, HomelabError> {
        let mut first_error = None;
        for (name, folder) in self.folders()? {
            match Environment::read(name, folder, &EnvironmentOverride::default()) {
                Ok(environment) => match environment.minio() {
                    Some(minio) => return Ok(Some(minio.clone())),
                    None => continue,
                },
                Err(error) => first_error.get_or_insert(error),
            };
        }
        first_error.map_or(Ok(None), Err)
    }

    /// Where the state of a workspace is, for an environment whose backend is S3.
    pub fn state_store(
        &self,
        environment: &Environment,
        backend: &S3Backend,
        workspace: &str,
        variables: Variables<'_>,
    ) -> Result<StateStore, HomelabError> {
        let text = |name: &str| variables(name).and_then(|value| value.into_string().ok());
        let set = |name: &str| text(name).filter(|value| !value.is_empty());
        let over = &self.overrides.s3;
        let named = over.endpoint.clone().or_else(|| backend.endpoint.clone());
        let named = named.or_else(|| set("AWS_ENDPOINT_URL_S3")).or_else(|| set("AWS_S3_ENDPOINT"));
        let keys = set("AWS_ACCESS_KEY_ID").zip(set("AWS_SECRET_ACCESS_KEY"));
        // The project's other files are only read for what is not known yet.
        let minio = if named.is_some() && keys.is_some() { None } else { self.minio()? };
        let url = named.or_else(|| minio.as_ref().and_then(url_of));
        let url = url.ok_or_else(|| {
            let instead = "`endpoint` under `[s3]` in `restore.toml`, or `AWS_ENDPOINT_URL_S3`";
            self.nowhere(
                environment,
                "where the S3 server is",
                &["endpoints.s3 of the backend", "minio.ip"],
                instead,
            )
        })?;
        let credentials = keys.map(|(access_key, secret)| Credentials {
            access_key,
            secret_key: Secret::from(secret),
            session_token: set("AWS_SESSION_TOKEN").map(Secret::from),
        });
        let credentials = credentials.or_else(|| minio.as_ref().and_then(credentials_of));
        let credentials = credentials.ok_or_else(|| {
            let instead = "`AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`";
            self.nowhere(
                environment,
                "the S3 credentials",
                &["minio.root_user", "minio.root_password"],
                instead,
            )
        })?;
        let region = backend.region.clone().or_else(|| set("AWS_REGION"));
        let region = region.or_else(|| set("AWS_DEFAULT_REGION")).unwrap_or_else(|| "us-east-1".to_owned());
        let own = self.overrides.environments.get(environment.name());
        let bucket = own.and_then(|own| own.bucket.clone()).or_else(|| backend.bucket.clone());
        Ok(StateStore {
            endpoint: Endpoint {
                path_style: backend.path_style || has_no_name(&url),
                authority: self.authority(over, variables),
                region,
                url,
            },
            bucket: bucket.unwrap_or_else(|| format!("tfstate-{}", environment.name())),
            key: backend.key_of(workspace),
            lockfile: backend.lockfile,
            credentials,
        })
    }

    /// The certificates to trust: those of `restore.toml`, else those that the variables of Terraform's own S3 client
    /// and of OpenSSL name.
    fn authority(&self, over: &S3Override, variables: Variables<'_>) -> Option<PathBuf> {
        let set = |name: &str| variables(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let own = over.ca.as_ref().map(|path| self.root().join(path));
        own.or_else(|| set("AWS_CA_BUNDLE")).or_else(|| set("SSL_CERT_FILE"))
    }

    fn nowhere(
        &self,
        environment: &Environment,
        what: &'static str,
        keys: &[&str],
        instead: &'static str,
    ) -> HomelabError {
        let searched = self.folders().map(|folders| folders.into_values().collect());
        HomelabError::Absent {
            environment: environment.name().to_owned(),
            what,
            keys: keys.iter().map(|&key| key.to_owned()).collect(),
            searched: searched.unwrap_or_default(),
            instead,
        }
    }
}

impl Backend {
    /// Why there is nothing in S3 to look at: for a backend that is not S3.
    pub fn not_s3(&self, environment: &str) -> Option<String> {
        match self {
            Self::S3(_) => None,
            Self::Other(name) => Some(format!(
                "environment `{environment}` keeps its state in the backend `{name}`, not in S3"
            )),
            Self::Local { commented_out: None } => Some(format!(
                "environment `{environment}` has no backend block, so its state is a file in its folder, not in S3"
            )),
            Self::Local { commented_out: Some(file) } => Some(format!(
                "environment `{environment}` has no S3 backend configured: the block in `{}` is a comment, so its state is a file in its folder",
                file.file_name().unwrap_or_default().to_string_lossy()
            )),
        }
    }
}

/// Keys of states, by workspace. Source: Terraform, `internal/backend/remote-state/s3`.
impl S3Backend {
    fn key_name(&self) -> &str {
        self.key.as_deref().unwrap_or("terraform.tfstate")
    }

    /// What the keys of all workspaces but the default one begin with.
    pub fn workspaces_prefix(&self) -> String {
        format!("{}/", self.workspace_key_prefix.as_deref().unwrap_or("env:"))
    }

    /// The key of a workspace's state.
    pub fn key_of(&self, workspace: &str) -> String {
        let key = self.key_name();
        if workspace == "default" {
            return key.to_owned();
        }
        format!("{}{workspace}/{key}", self.workspaces_prefix())
    }

    /// The workspace whose state has this key.
    pub fn workspace_of<'k>(&self, key: &'k str) -> Option<&'k str> {
        let workspace = key.strip_prefix(&self.workspaces_prefix())?.strip_suffix(self.key_name())?;
        workspace.strip_suffix('/').filter(|workspace| !workspace.is_empty())
    }
}

fn url_of(minio: &Minio) -> Option<String> {
    let address = minio.address.as_ref()?;
    let host = if address.contains(':') { format!("[{address}]") } else { address.clone() };
    Some(format!("http://{host}:{}", minio.port))
}

fn credentials_of(minio: &Minio) -> Option<Credentials> {
    let secret_key = minio.root_password.clone()?;
    Some(Credentials { access_key: minio.root_user.clone(), secret_key, session_token: None })
}

/// Whether a URL names its host by address, in front of which no bucket's name can stand.
fn has_no_name(url: &str) -> bool {
    let host = url::Url::parse(url).ok().and_then(|url| url.host().map(|host| host.to_owned()));
    matches!(host, Some(url::Host::Ipv4(_) | url::Host::Ipv6(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKEND: &str = "terraform {\n  backend \"s3\" {\n    bucket = \"b\"\n  }\n}\n";

    fn project(files: &[(&str, &str)]) -> (tempfile::TempDir, Project) {
        let root = tempfile::tempdir().unwrap();
        let standard = [
            ("prod/terraform.tfvars", "proxmox_endpoint = \"https://192.168.1.100:8006\"\n"),
            ("prod/backend.tf", BACKEND),
        ];
        for (name, text) in standard.iter().chain(files) {
            let path = match name.strip_prefix('/') {
                Some(at_root) => root.path().join(at_root),
                None => root.path().join("infrastructure/proxmox/environments").join(name),
            };
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let project = Project::find(Some(root.path()), &|_| None, root.path()).unwrap();
        (root, project)
    }

    fn store(files: &[(&str, &str)], variables: &[(&str, &str)]) -> Result<StateStore, String> {
        let (root, project) = project(files);
        let environment = project.selected(Some("prod")).unwrap().remove(0);
        let Backend::S3(backend) = Backend::read(environment.dir()).unwrap() else { panic!("not S3") };
        let lookup = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        };
        let store = project.state_store(&environment, &backend, "blue", &lookup);
        store.map_err(|error| error.to_string().replace(&root.path().display().to_string(), ""))
    }

    const MINIO: (&str, &str) = (
        "monitoring/terraform.tfvars",
        "minio = { ip = \"fe80::1\", root_user = \"u\", root_password = \"p\" }\n",
    );

    #[test]
    fn what_the_backend_leaves_open_comes_from_the_minio_block_of_any_environment() {
        let broken = ("lab/terraform.tfvars", "x = \"${VAR:?required}\"\n");
        let store = store(&[MINIO, broken], &[]).unwrap();
        assert_eq!(store.endpoint.url, "http://[fe80::1]:9000");
        assert!(store.endpoint.path_style, "an address has no name in front");
        assert_eq!((store.bucket.as_str(), store.key.as_str()), ("b", "env:/blue/terraform.tfstate"));
        assert_eq!(store.credentials.access_key, "u");
    }

    #[test]
    fn variables_win_over_the_tfvars_and_restore_toml_over_all() {
        let toml = (
            "/restore.toml",
            "[s3]\nendpoint = \"https://s3.lan\"\nca = \"ca.pem\"\n[environments.prod]\nbucket = \"other\"\n",
        );
        let keys = [("AWS_ACCESS_KEY_ID", "k"), ("AWS_SECRET_ACCESS_KEY", "s"), ("AWS_REGION", "home")];
        let store = store(&[MINIO, toml], &keys).unwrap();
        assert_eq!((store.endpoint.url.as_str(), store.endpoint.region.as_str()), ("https://s3.lan", "home"));
        assert!(!store.endpoint.path_style && store.endpoint.authority.unwrap().ends_with("ca.pem"));
        assert_eq!((store.bucket.as_str(), store.credentials.access_key.as_str()), ("other", "k"));
    }

    #[test]
    fn what_is_nowhere_is_named_with_what_to_do() {
        let error = store(&[], &[]).unwrap_err();
        assert!(error.contains("minio.ip") && error.contains("restore.toml"), "{error}");
        let endpoint = ("AWS_ENDPOINT_URL_S3", "http://s3:9000");
        let error = store(&[], &[endpoint]).unwrap_err();
        assert!(error.contains("minio.root_password") && error.contains("AWS_SECRET_ACCESS_KEY"), "{error}");
    }
}
