//! The modules that an environment's configuration calls, as far as a targeted apply has to know them.

use std::path::{Path, PathBuf};

use hcl::edit::{parser, structure::Block};
use serde::Deserialize;

use super::{
    error::{HomelabError, read_text},
    value::value_of,
};

/// Modules that call modules that call modules: more than that is a circle.
const DEEPEST: usize = 8;

/// Files of a module in which something may be named that it downloads.
const TEXTS: [&str; 5] = ["tf", "tftpl", "tpl", "sh", "yaml"];

/// A `module` block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleCall {
    /// Its label.
    pub name: String,
    /// Where the module comes from, as it stands there.
    pub source: String,
    /// The file that has it.
    pub file: PathBuf,
}

impl ModuleCall {
    /// Its address: `module.monitoring`.
    pub fn address(&self) -> String {
        format!("module.{}", self.name)
    }

    /// The last component of the source's path: `minio` of `../../modules/minio`.
    pub fn last_component(&self) -> &str {
        let path = self.source.split('?').next().unwrap_or_default().trim_end_matches('/');
        let last = path.rsplit('/').next().unwrap_or_default();
        last.strip_suffix(".git").unwrap_or(last)
    }

    /// The folder of the module: a path in the configuration, else where `init` has put it.
    pub fn folder(&self, dir: &Path, data: &Path) -> Option<PathBuf> {
        if self.source.starts_with("./") || self.source.starts_with("../") {
            return Some(dir.join(&self.source));
        }
        let listed = std::fs::read(data.join("modules/modules.json")).ok()?;
        let listed: Installed = serde_json::from_slice(&listed).ok()?;
        listed.modules.into_iter().find(|module| module.key == self.name).map(|module| dir.join(module.dir))
    }
}

/// What `init` writes down about the modules. Source: Terraform, `internal/modsdir/manifest.go`.
#[derive(Deserialize)]
struct Installed {
    #[serde(rename = "Modules")]
    modules: Vec<InstalledModule>,
}

#[derive(Deserialize)]
struct InstalledModule {
    #[serde(rename = "Key")]
    key: String,
    #[serde(rename = "Dir")]
    dir: PathBuf,
}

/// The modules that the configuration in a folder calls, in order of their files.
pub fn module_calls(dir: &Path) -> Result<Vec<ModuleCall>, HomelabError> {
    let mut calls = Vec::new();
    for (file, block) in blocks(dir, "module")? {
        let Some(name) = block.labels.first().map(|label| label.as_str().to_owned()) else { continue };
        let source = block.body.into_attributes().find(|attribute| attribute.key.as_str() == "source");
        // Terraform takes only plain texts here; what it would refuse is of no use to anybody.
        let source = source.and_then(|attribute| value_of(attribute.value)?.as_str().map(str::to_owned));
        calls.extend(source.map(|source| ModuleCall { name, source, file }));
    }
    Ok(calls)
}

/// The resources of a module that have provisioners, with those of the modules in it, below the module's own address:
/// `terraform_data.install`, `module.inner.terraform_data.x`. Modules in it that are not beside it are not looked into.
pub fn provisioned(module: &Path) -> Result<Vec<String>, HomelabError> {
    let mut found = Vec::new();
    collect(module, "", DEEPEST, &mut found)?;
    Ok(found)
}

fn collect(module: &Path, prefix: &str, depth: usize, found: &mut Vec<String>) -> Result<(), HomelabError> {
    for (_, block) in blocks(module, "resource")? {
        let labels: Vec<_> = block.labels.iter().map(|label| label.as_str().to_owned()).collect();
        let has_one = block.body.into_blocks().any(|inner| inner.ident.as_str() == "provisioner");
        if has_one {
            found.push(format!("{prefix}{}", labels.join(".")));
        }
    }
    for call in module_calls(module)? {
        let inner = module.join(&call.source);
        if depth > 0 && call.source.starts_with('.') && inner.is_dir() {
            collect(&inner, &format!("{prefix}{}.", call.address()), depth - 1, found)?;
        }
    }
    Ok(())
}

/// What is in the folder of a module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Module {
    /// See [`provisioned`]. What these do is not done again when only something beside them was made anew.
    pub provisioned: Vec<String>,
    /// URLs that its files name, outside of comments.
    pub urls: Vec<String>,
}

impl Module {
    /// Looks into a module's folder.
    pub fn read(dir: &Path) -> Result<Self, HomelabError> {
        let mut urls = Vec::new();
        for file in files(dir, &TEXTS, true)? {
            urls.extend(urls_in(&read_text(&file)?));
        }
        urls.sort();
        urls.dedup();
        Ok(Self { provisioned: provisioned(dir)?, urls })
    }
}

/// The blocks of one kind in the `*.tf` files of a folder.
pub(super) fn blocks(dir: &Path, kind: &str) -> Result<Vec<(PathBuf, Block)>, HomelabError> {
    let mut blocks = Vec::new();
    for file in files(dir, &["tf"], false)? {
        let text = read_text(&file)?;
        let body = parser::parse_body(&text).map_err(|error| {
            // Only the message: the parser's own display quotes the line, which may hold a secret.
            HomelabError::at(&file, &text, error.location().offset(), error.message())
        })?;
        let wanted = body.into_blocks().filter(|block| block.ident.as_str() == kind);
        blocks.extend(wanted.map(|block| (file.clone(), block)));
    }
    Ok(blocks)
}

/// The files of a folder with these extensions, by name.
fn files(dir: &Path, extensions: &[&str], below: bool) -> Result<Vec<PathBuf>, HomelabError> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(HomelabError::unreadable(dir))? {
        let path = entry.map_err(HomelabError::unreadable(dir))?.path();
        let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let extension = path.extension().map(|extension| extension.to_string_lossy().into_owned());
        if path.is_dir() && below && !is_hidden && !path.is_symlink() {
            files.extend(self::files(&path, extensions, below)?);
        } else if extension.is_some_and(|extension| extensions.contains(&extension.as_str()))
            && path.is_file()
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// URLs with a path. What is put together from variables cannot be asked for, and is left out.
fn urls_in(text: &str) -> Vec<String> {
    let is_comment = |line: &&str| {
        let line = line.trim_start();
        line.starts_with('#') || line.starts_with("//") || line.starts_with('*') || line.starts_with("/*")
    };
    let mut found = Vec::new();
    for line in text.lines().filter(|line| !is_comment(line)) {
        for (at, _) in line.match_indices("http") {
            let rest = &line[at..];
            let ends = |c: char| c.is_whitespace() || "\"'`()<>,;|\\".contains(c);
            let url = rest.split(ends).next().unwrap_or_default();
            let path = url.split_once("://").and_then(|(scheme, rest)| {
                let (_, path) = rest.split_once('/')?;
                ["http", "https"].contains(&scheme).then_some(path)
            });
            if path.is_some_and(|path| !path.is_empty()) && !url.contains(['$', '{', '%']) {
                found.push(url.to_owned());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    #[rstest::rstest]
    #[case("../../modules/monitoring-stack", "monitoring-stack")]
    #[case("../../modules/monitoring-stack/", "monitoring-stack")]
    #[case("git::https://git.lan/tf.git//modules/monitoring-stack?ref=v1", "monitoring-stack")]
    #[case("git@git.lan:tf/monitoring-stack.git", "monitoring-stack")]
    #[case("./minio", "minio")]
    fn the_last_component_of_a_source(#[case] source: &str, #[case] last: &str) {
        let call = ModuleCall { name: "x".into(), source: source.into(), file: PathBuf::new() };
        assert_eq!(call.last_component(), last);
    }

    #[test]
    fn calls_are_found_whatever_their_names_are() {
        let root = folder(&[
            ("env/a.tf", "module \"eyes\" {\n  source = \"../modules/monitoring-stack\"\n}\n"),
            ("env/b.tf", "# module \"x\" {}\nmodule \"remote\" {\n  source = \"tf.lan/lab/x/y\"\n}\n"),
            (
                "env/.terraform/modules/modules.json",
                r#"{"Modules":[{"Key":"","Source":"","Dir":"."},{"Key":"remote","Source":"r","Dir":".terraform/modules/remote"}]}"#,
            ),
        ]);
        let env = root.path().join("env");
        let calls = module_calls(&env).unwrap();
        let addresses: Vec<_> = calls.iter().map(ModuleCall::address).collect();
        assert_eq!(addresses, ["module.eyes", "module.remote"]);
        let data = env.join(".terraform");
        assert_eq!(calls[0].folder(&env, &data).unwrap(), env.join("../modules/monitoring-stack"));
        assert_eq!(calls[1].folder(&env, &data).unwrap(), env.join(".terraform/modules/remote"));
    }

    #[test]
    fn provisioners_are_found_in_inner_modules_too() {
        let root = folder(&[
            (
                "m/main.tf",
                "resource \"a\" \"plain\" {\n  input = 1\n}\nresource \"a\" \"install\" {\n  provisioner \"remote-exec\" {\n    inline = []\n  }\n}\nmodule \"inner\" {\n  source = \"./inner\"\n}\nmodule \"self\" {\n  source = \"../m\"\n}\n",
            ),
            (
                "m/inner/main.tf",
                "resource \"b\" \"x\" {\n  provisioner \"local-exec\" {\n    command = \"true\"\n  }\n}\n",
            ),
        ]);
        let found = provisioned(&root.path().join("m")).unwrap();
        assert_eq!(found[..2], ["a.install", "module.inner.b.x"]);
        assert!(found.len() < 50, "a circle ends");
    }

    #[test]
    fn what_does_not_parse_is_named_without_its_text() {
        let root = folder(&[("env/a.tf", "module \"x\" {\n  source = = \"hunter2\"\n}\n")]);
        let error = module_calls(&root.path().join("env")).unwrap_err().to_string();
        assert!(error.contains("a.tf:2:") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn provisioners_and_urls_of_a_module_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let text = "resource \"terraform_data\" \"install\" {\n  provisioner \"remote-exec\" {\n    inline = [\
                    \"wget -q https://dl.lan/server/minio -O /usr/local/bin/minio\", \"curl http://${var.ip}:9000/x\"]\n  }\n}\n\
                    # see https://docs.lan/minio\nresource \"x\" \"plain\" {}\nlocals { site = \"https://min.lan\" }\n";
        std::fs::write(folder.path().join("main.tf"), text).unwrap();
        std::fs::create_dir(folder.path().join("scripts")).unwrap();
        std::fs::write(folder.path().join("scripts/install.sh"), "curl -fsSL 'http://mirror.lan/mc' | sh\n")
            .unwrap();
        let module = Module::read(folder.path()).unwrap();
        assert_eq!(module.provisioned, ["terraform_data.install"]);
        assert_eq!(module.urls, ["http://mirror.lan/mc", "https://dl.lan/server/minio"]);
    }
}
