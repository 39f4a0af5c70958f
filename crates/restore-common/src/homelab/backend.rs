//! Where Terraform keeps the state of an environment: the `backend` block of its configuration.

use std::path::{Path, PathBuf};

use hcl::{
    Value,
    edit::{Span as _, parser, structure},
};

use super::{
    error::{HomelabError, read_text},
    value::value_of,
};

/// Where an environment's state is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// In a bucket.
    S3(S3Backend),
    /// Somewhere that is not S3: the backend's name.
    Other(String),
    /// No backend is configured, so in the environment's folder. `commented_out`: a block is there as a comment.
    Local {
        /// The file with a backend block that is a comment as a whole.
        commented_out: Option<PathBuf>,
    },
}

/// A `backend "s3"` block. What it does not say is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct S3Backend {
    /// The file that has it.
    pub file: PathBuf,
    /// The bucket.
    pub bucket: Option<String>,
    /// The key of the state of the default workspace.
    pub key: Option<String>,
    /// The region that requests are signed for.
    pub region: Option<String>,
    /// The endpoint, as a URL.
    pub endpoint: Option<String>,
    /// Whether the bucket's name is in the path of URLs rather than in the host.
    pub path_style: bool,
    /// Whether Terraform locks with a file beside the state.
    pub lockfile: bool,
    /// What the keys of other workspaces begin with.
    pub workspace_key_prefix: Option<String>,
}

/// The override that puts another backend in place; Terraform reads it after all other files.
pub const OVERRIDE: &str = "backend_override.tf";

impl Backend {
    /// Reads the backend from the `*.tf` files of a folder. Overrides are left out: they are what this project's own
    /// programs put there.
    pub fn read(dir: &Path) -> Result<Self, HomelabError> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(HomelabError::unreadable(dir))? {
            let path = entry.map_err(HomelabError::unreadable(dir))?.path();
            let is_configuration = path.extension().is_some_and(|extension| extension == "tf");
            if is_configuration && path.file_name().is_some_and(|name| name != OVERRIDE) {
                files.push(path);
            }
        }
        files.sort();
        let mut commented_out = None;
        for file in files {
            let text = read_text(&file)?;
            if let Some(backend) = in_text(&file, &text)? {
                return Ok(backend);
            }
            if is_commented_out(&text) {
                commented_out.get_or_insert(file);
            }
        }
        Ok(Self::Local { commented_out })
    }
}

fn in_text(file: &Path, text: &str) -> Result<Option<Backend>, HomelabError> {
    let body = parser::parse_body(text).map_err(|error| {
        // Only the message: the parser's own display quotes the line, which may hold a secret.
        HomelabError::at(file, text, error.location().offset(), error.message())
    })?;
    let terraform = body.into_blocks().filter(|block| block.ident.as_str() == "terraform");
    let mut inner = terraform.flat_map(|block| block.body.into_blocks());
    let Some(block) = inner.find(|block| matches!(block.ident.as_str(), "backend" | "cloud")) else {
        return Ok(None);
    };
    let name = block.labels.first().map_or("cloud", |label| label.as_str());
    if name != "s3" {
        return Ok(Some(Backend::Other(name.to_owned())));
    }
    s3(file, text, block).map(|backend| Some(Backend::S3(backend)))
}

fn s3(file: &Path, text: &str, block: structure::Block) -> Result<S3Backend, HomelabError> {
    let mut backend = S3Backend { file: file.to_owned(), ..S3Backend::default() };
    for attribute in block.body.into_attributes() {
        let at = attribute.span().map_or(0, |span| span.start);
        let key = attribute.key.as_str().to_owned();
        // Terraform takes only plain values here; what it would refuse is of no use to anybody.
        let value = value_of(attribute.value);
        let wrong = |what: &str| HomelabError::at(file, text, at, format!("`{key}` of the backend {what}"));
        let value = value.ok_or_else(|| wrong("is not a plain value"))?;
        let word = |value: &Value| match value {
            Value::Null => Ok(None),
            Value::String(word) => Ok(Some(word.clone()).filter(|word| !word.is_empty())),
            _ => Err(wrong("must be a text")),
        };
        let flag = |value: &Value| match value {
            Value::Null => Ok(false),
            Value::Bool(flag) => Ok(*flag),
            Value::String(word) if word == "true" || word == "false" => Ok(word == "true"),
            _ => Err(wrong("must be true or false")),
        };
        match key.as_str() {
            "bucket" => backend.bucket = word(&value)?,
            "key" => backend.key = word(&value)?,
            "region" => backend.region = word(&value)?,
            "workspace_key_prefix" => backend.workspace_key_prefix = word(&value)?,
            "endpoint" => backend.endpoint = backend.endpoint.or(word(&value)?),
            "endpoints" => {
                let s3 = value.as_object().and_then(|map| map.get("s3"));
                backend.endpoint = s3.map(word).transpose()?.flatten().or(backend.endpoint);
            }
            // The second name is the one before Terraform 1.6.
            "use_path_style" | "force_path_style" => backend.path_style |= flag(&value)?,
            "use_lockfile" => backend.lockfile = flag(&value)?,
            _ => {}
        }
    }
    Ok(backend)
}

/// Whether a backend block is there, but only as a comment.
fn is_commented_out(text: &str) -> bool {
    let uncommented =
        text.lines().map(|line| line.trim_start().trim_start_matches(['#', '/', '*']).trim_start());
    uncommented.into_iter().any(|line| line.starts_with("backend \"") && line.ends_with('{'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACTIVE: &str = r#"
terraform {
  backend "s3" {
    bucket = "tfstate-prod"
    key    = "terraform.tfstate"
    region = "us-east-1"
    endpoints = { s3 = "http://192.168.1.52:9000" }
    use_path_style              = true
    use_lockfile                = true
    skip_credentials_validation = true
  }
}
"#;

    fn read(files: &[(&str, &str)]) -> Result<Backend, String> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let backend = Backend::read(dir.path()).map_err(|error| error.to_string());
        let place = format!("{}/", dir.path().display());
        backend.map_err(|error| error.replace(&place, ""))
    }

    #[test]
    fn a_block_is_read() {
        let Backend::S3(backend) = read(&[("backend.tf", ACTIVE), ("main.tf", "# nothing\n")]).unwrap()
        else {
            panic!("no S3 backend")
        };
        assert_eq!(backend.bucket.as_deref(), Some("tfstate-prod"));
        assert_eq!(backend.key.as_deref(), Some("terraform.tfstate"));
        assert_eq!(backend.endpoint.as_deref(), Some("http://192.168.1.52:9000"));
        assert!(backend.path_style && backend.lockfile);
        assert_eq!(backend.workspace_key_prefix, None);
    }

    #[test]
    fn the_names_of_older_versions_are_known() {
        let text = "terraform {\n backend \"s3\" {\n endpoint = \"https://s3:9000\"\n force_path_style = true\n }\n}\n";
        let Backend::S3(backend) = read(&[("main.tf", text)]).unwrap() else { panic!("no S3 backend") };
        assert_eq!(backend.endpoint.as_deref(), Some("https://s3:9000"));
        assert!(backend.path_style && !backend.lockfile);
    }

    #[test]
    fn a_block_that_is_a_comment_is_none_and_is_told() {
        let commented = format!("# {}\n", ACTIVE.replace('\n', "\n# "));
        let Backend::Local { commented_out: Some(file) } = read(&[("backend.tf", &commented)]).unwrap()
        else {
            panic!("not seen")
        };
        assert!(file.ends_with("backend.tf"));
        assert_eq!(read(&[("main.tf", "# terraform\n")]).unwrap(), Backend::Local { commented_out: None });
    }

    #[test]
    fn other_backends_are_named_and_an_override_is_not_looked_at() {
        let pg = "terraform {\n  backend \"pg\" {}\n}\n";
        assert_eq!(read(&[("backend.tf", pg)]).unwrap(), Backend::Other("pg".to_owned()));
        let cloud = "terraform {\n  cloud {\n    organization = \"x\"\n  }\n}\n";
        assert_eq!(read(&[("backend.tf", cloud)]).unwrap(), Backend::Other("cloud".to_owned()));
        let local = "terraform {\n  backend \"local\" {}\n}\n";
        let both = read(&[("backend.tf", ACTIVE), (OVERRIDE, local)]).unwrap();
        assert!(matches!(both, Backend::S3(_)), "{both:?}");
    }

    #[rstest::rstest]
    #[case(
        "terraform {\n backend \"s3\" {\n  bucket = var.bucket\n }\n}\n",
        "backend.tf:3:3: `bucket` of the backend is not a plain value"
    )]
    #[case(
        "terraform {\n backend \"s3\" {\n  bucket = 7\n }\n}\n",
        "backend.tf:3:3: `bucket` of the backend must be a text"
    )]
    #[case(
        "terraform {\n backend \"s3\" {\n  use_lockfile = \"maybe\"\n }\n}\n",
        "backend.tf:3:3: `use_lockfile` of the backend must be true or false"
    )]
    fn a_value_that_cannot_be_is_pointed_at(#[case] text: &str, #[case] message: &str) {
        assert_eq!(read(&[("backend.tf", text)]).unwrap_err(), message);
    }

    #[test]
    fn a_file_that_does_not_parse_is_pointed_at() {
        let message = read(&[("backend.tf", "terraform {\n  backend \"s3\" {\n")]).unwrap_err();
        assert!(message.starts_with("backend.tf:"), "{message}");
    }
}
