//! What a configuration asks of Terraform: a version of it, and providers.

use std::path::Path;

use hcl::edit::{parser, structure::Body};

use super::{
    error::{HomelabError, read_text},
    modules::blocks,
    value::value_of,
};

/// Where Terraform notes which versions of providers it chose.
const LOCK_FILE: &str = ".terraform.lock.hcl";

/// What the `terraform` blocks of a folder and its lock file say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requirements {
    /// `required_version`, all of them joined: `>= 1.9, < 2.0`.
    pub version: Option<String>,
    /// The local names of the providers that are required.
    pub providers: Vec<String>,
    /// Source address and version of each provider in the lock file: `registry.terraform.io/bpg/proxmox`, `0.70.0`.
    pub locked: Vec<(String, String)>,
}

impl Requirements {
    /// Reads the `*.tf` files and the lock file of a folder.
    pub fn read(dir: &Path) -> Result<Self, HomelabError> {
        let mut found = Self::default();
        let mut versions = Vec::new();
        for (_, block) in blocks(dir, "terraform")? {
            versions.extend(text_of(&block.body, "required_version"));
            let inner = block.body.into_blocks().filter(|inner| inner.ident.as_str() == "required_providers");
            let names = inner.flat_map(|inner| inner.body.into_attributes());
            found.providers.extend(names.map(|attribute| attribute.key.as_str().to_owned()));
        }
        found.version = (!versions.is_empty()).then(|| versions.join(", "));
        let lock = dir.join(LOCK_FILE);
        if lock.is_file() {
            let text = read_text(&lock)?;
            let body = parser::parse_body(&text).map_err(|error| {
                HomelabError::at(&lock, &text, error.location().offset(), error.message())
            })?;
            for block in body.into_blocks().filter(|block| block.ident.as_str() == "provider") {
                let source = block.labels.first().map(|label| label.as_str().to_owned());
                found.locked.extend(source.zip(text_of(&block.body, "version")));
            }
        }
        Ok(found)
    }
}

fn text_of(body: &Body, key: &str) -> Option<String> {
    let attribute = body.attributes().find(|attribute| attribute.key.as_str() == key)?;
    let value = value_of(attribute.value.clone())?;
    value.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_of_terraform_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        assert_eq!(Requirements::read(folder.path()).unwrap(), Requirements::default());
        put(
            "versions.tf",
            "terraform {\n  required_version = \">= 1.9\"\n  required_providers {\n    \
             proxmox = { source = \"bpg/proxmox\", version = \"~> 0.70\" }\n  }\n}\n",
        );
        put("more.tf", "terraform {\n  required_version = \"< 2.0\"\n}\n");
        put(
            ".terraform.lock.hcl",
            "provider \"registry.terraform.io/bpg/proxmox\" {\n  version = \"0.70.1\"\n  hashes = [\"h1:x=\"]\n}\n",
        );
        let found = Requirements::read(folder.path()).unwrap();
        assert_eq!(found.version.as_deref(), Some("< 2.0, >= 1.9"));
        assert_eq!(found.providers, ["proxmox"]);
        assert_eq!(found.locked, [("registry.terraform.io/bpg/proxmox".to_owned(), "0.70.1".to_owned())]);
        put(".terraform.lock.hcl", "provider {");
        assert!(Requirements::read(folder.path()).unwrap_err().to_string().contains(".terraform.lock.hcl"));
    }
}
