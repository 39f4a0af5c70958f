//! The project of a homelab, in the shape of a real one: modules, `minio.tf`, `monitoring.tf`, a provider.

use std::{fs, io, os::unix::fs::symlink, path::Path};

use super::Names;
use crate::{
    installed,
    project::{self, ENVIRONMENTS},
    s3::Credentials,
    secrets,
};

/// The provider's program, as `cargo xtask servers` calls it.
pub(super) const PROVIDER: &str = "terraform-provider-proxmox";
/// The version that the lab's provider goes by.
const PROVIDER_VERSION: &str = "0.80.0";
/// Where Terraform and OpenTofu look for a provider that is named without a host.
const REGISTRIES: [&str; 2] = ["registry.terraform.io", "registry.opentofu.org"];

/// Of every environment and every module.
const VERSIONS: &str = include_str!("../../data/homelab/versions.tf");
const EVERYWHERE: [(&str, &str); 2] =
    [("versions.tf", VERSIONS), ("provider.tf", include_str!("../../data/homelab/provider.tf"))];
const MONITORING: [(&str, &str); 2] = [
    ("variables.tf", include_str!("../../data/homelab/variables.tf")),
    ("minio.tf", include_str!("../../data/homelab/minio.tf")),
];
const MODULES: [(&str, &str); 4] = [
    ("minio/main.tf", include_str!("../../data/homelab/modules/minio/main.tf")),
    ("minio/variables.tf", include_str!("../../data/homelab/modules/minio/variables.tf")),
    ("minio/outputs.tf", include_str!("../../data/homelab/modules/minio/outputs.tf")),
    ("monitoring-stack/main.tf", include_str!("../../data/homelab/modules/monitoring-stack/main.tf")),
];
const STACK: &str = include_str!("../../data/homelab/monitoring.tf");

/// What the project says about the homelab.
pub(super) struct About<'a> {
    pub(super) names: &'a Names,
    /// The module call of the monitoring stack, where there is one.
    pub(super) stack: Option<&'a str>,
    pub(super) credentials: &'a Credentials,
    pub(super) port: u16,
    pub(super) install_source: &'a str,
}

/// Adds everything to a project whose environments are there.
pub(super) fn write(root: &Path, about: &About<'_>) -> io::Result<()> {
    for (path, text) in MODULES {
        let path = project::proxmox(root).join("modules").join(path);
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        fs::write(path.with_file_name("versions.tf"), VERSIONS)?;
        fs::write(path, text.replace("INSTALL_SOURCE", about.install_source))?;
    }
    for name in ENVIRONMENTS {
        let folder = project::environment(root, name);
        for (file, text) in EVERYWHERE {
            fs::write(folder.join(file), text)?;
        }
        let path = folder.join("terraform.tfvars");
        let gateway = format!("network_gateway = \"{}\"\n", about.names.node);
        let login = project::login_tfvars(&about.names.api_token) + &gateway;
        let before = fs::read_to_string(&path)?.replace("\nmonitoring = null\n", "");
        let before = before.replace(&project::login_tfvars(secrets::IN_VARIABLES), "");
        let own = if name == "monitoring" { monitoring(about) } else { String::new() };
        fs::write(path, before + &login + &own)?;
    }
    let folder = project::environment(root, "monitoring");
    for (file, text) in MONITORING {
        fs::write(folder.join(file), text)?;
    }
    if let Some(call) = about.stack {
        fs::write(folder.join("monitoring.tf"), STACK.replace("CALL", call))?;
    }
    Ok(())
}

/// What the monitoring environment is told beyond the others.
fn monitoring(about: &About<'_>) -> String {
    let (names, Credentials { access_key, secret_key }) = (about.names, about.credentials);
    let stack = if about.stack.is_none() {
        "monitoring = null\n".to_owned()
    } else {
        format!(
            "monitoring = {{\n  node = null\n  vm = {{\n    ip        = \"{ip}\"\n    cores     = 2\n    \
             memory    = 2048\n    disk      = 8\n    data_disk = 4\n  }}\n  proxmox_nodes = [\n    \
             {{ name = \"{name}\", ip = \"{node}\", token_value = \"canary-pve-exporter-51c2\" }},\n  ]\n  \
             grafana_admin_password = \"{canary}\"\n  retention_days         = 30\n  telegram = {{\n    enabled = false\n  }}\n}}\n",
            ip = names.monitoring,
            name = names.node_name,
            node = names.node,
            canary = crate::terraform::CANARY,
        )
    };
    format!(
        "\nnode_ssh = {{ user = \"{user}\", port = {ssh}, private_key = \"{key}\" }}\n\n{stack}\n\
         # The states of all environments.\nminio = {{\n  ip                = \"{ip}\"\n  \
         template_file_id  = \"{template}\"\n  root_user         = \"{access_key}\"\n  \
         root_password     = \"{secret_key}\"\n  port              = {port}\n  console_port      = 9001\n  \
         data_disk_size_gb = 4\n  buckets           = [\"tfstate-prod\", \"tfstate-lab\", \"tfstate-monitoring\"]\n}}\n",
        user = names.user,
        ssh = names.ssh_port,
        key = names.private_key.display(),
        ip = names.minio,
        template = super::templates::CONTAINER,
        port = about.port,
    )
}

/// Tells Terraform by `~/.terraformrc` to take the provider from a folder, and from nowhere else.
pub(super) fn install_provider(home: &Path) -> io::Result<()> {
    let words = "the lab's Terraform provider is not there: `cargo xtask servers` builds it";
    let program = installed::find(PROVIDER).ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, words))?;
    let mirror = home.join(".terraform.d/mirror");
    for registry in REGISTRIES {
        let folder = mirror.join(registry).join("bpg/proxmox").join(PROVIDER_VERSION).join(platform());
        fs::create_dir_all(&folder)?;
        symlink(&program, folder.join(format!("{PROVIDER}_v{PROVIDER_VERSION}")))?;
    }
    let text = format!(
        "provider_installation {{\n  filesystem_mirror {{\n    path = \"{}\"\n  }}\n}}\n",
        mirror.display()
    );
    fs::write(home.join(".terraformrc"), text)
}

/// `linux_amd64`, as Go names it.
fn platform() -> String {
    let os = if std::env::consts::OS == "macos" { "darwin" } else { std::env::consts::OS };
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("{os}_{architecture}")
}
