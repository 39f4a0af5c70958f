//! What the Terraform state says about the guest, without Terraform: from its bucket, else the freshest copy here.

use std::{env, fs};

use restore_common::{
    cli::state_folder,
    homelab::{Backend, OVERRIDE},
    pve::Vmid,
    s3::Bucket,
    state::Cache,
    ui::sanitize,
};

use crate::{claims, rebuild::find_module, site::Site};

/// The numbers that the state has for the VM. It is one mark among others: what cannot be read is said, and
/// tells nothing.
pub fn vmids(site: &Site<'_>) -> Vec<Vmid> {
    let looked = || -> anyhow::Result<Vec<Vmid>> {
        let Ok(module) = find_module(site, site.options.module.as_deref())? else { return Ok(Vec::new()) };
        Ok(read(site)?.map(|state| claims::in_state(&state, &module.address())).unwrap_or_default())
    };
    looked().unwrap_or_else(|error| {
        let error = format!("{error:#}");
        log::warn!("the Terraform state does not tell which guest it is: {}", sanitize(&error));
        Vec::new()
    })
}

/// The state of the environment, if there is any.
fn read(site: &Site<'_>) -> anyhow::Result<Option<Vec<u8>>> {
    let dir = site.dir()?;
    let (environment, workspace) = (&site.environment, site.workspace());
    if let (Backend::S3(block), false) = (Backend::read(&dir)?, dir.join(OVERRIDE).exists()) {
        let store = site.project.state_store(environment, &block, &workspace, &|name| env::var_os(name))?;
        let bucket = Bucket::new(&store.endpoint, &store.bucket, store.credentials)?;
        match bucket.get(&store.key, None) {
            Ok(object) => return Ok(Some(object.bytes)),
            Err(error) => log::info!("the state of {} is read from a copy: {error}", environment.name()),
        }
    }
    let local = ["fallback.tfstate", "terraform.tfstate"].into_iter().map(|name| dir.join(name));
    let local = local.filter(|path| path.exists());
    let copies = Cache::new(&state_folder()).list(environment.name(), &workspace)?;
    let first = local.chain(copies.into_iter().map(|copy| copy.path)).next();
    Ok(first.map(fs::read).transpose()?)
}
