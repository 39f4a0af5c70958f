//! The operator's Terraform project: where its files are, and what all of its environments are told.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

/// The environments, one root module each.
pub const ENVIRONMENTS: [&str; 3] = ["prod", "lab", "monitoring"];

/// The folder of all that is about Proxmox VE.
pub(crate) fn proxmox(project: &Path) -> PathBuf {
    project.join("infrastructure/proxmox")
}

/// The folder of one environment.
pub(crate) fn environment(project: &Path, name: &str) -> PathBuf {
    proxmox(project).join("environments").join(name)
}

/// The beginning of an environment's `terraform.tfvars`.
pub(crate) fn common_tfvars(environment: &str, node: &str, address: IpAddr) -> String {
    format!(
        "# The node of this environment\nproxmox_endpoint = \"https://{address}:8006\"\n\
         proxmox_insecure = true\ndefault_node     = \"{node}\"\nenvironment      = \"{environment}\"\n\
         network_bridge   = \"vmbr0\"\n\nbackup = {{\n  enabled  = true\n  schedule = \"01:00\"\n  \
         storage  = \"local\"\n  mode     = \"snapshot\"\n  compress = \"zstd\"\n}}\n"
    )
}

/// The login of Terraform's provider.
pub(crate) fn login_tfvars(token: &str) -> String {
    format!("\nproxmox_api_token = \"{token}\"\n")
}

/// The guests of `prod`, or what another environment has in their place.
pub(crate) fn guests_tfvars(environment: &str, vm: &str, container: &str) -> String {
    match environment {
        "prod" => format!(
            "\nvms = {{\n  \"web\" = {{ ip = \"{vm}/8\", cores = 1, memory = 512, disk = 8, tags = [\"web\"] }}\n}}\n\n\
             containers = {{\n  \"dns\" = {{ ip = \"{container}/8\", cores = 1, memory = 256, disk = 2, nesting = false }}\n}}\n"
        ),
        "monitoring" => "\nmonitoring = null\n".to_owned(),
        _ => "\nvms = {}\n".to_owned(),
    }
}
