//! How time and memory grow with the size of what a program has to do with.

use std::{
    error::Error,
    fs::{self, File},
    io::BufWriter,
    path::Path,
};

use restore_lab::{
    lab::{Lab, LabBuilder},
    sim::vma::{Config, Device, Header, Writer},
};

use crate::{
    figure::Table,
    restores::operators_command,
    states,
    verify::{large_homelab, node_with},
    watch::{self, Run},
};

/// The size of a cluster of a VMA archive, in bytes.
const CLUSTER: u64 = 64 << 10;

/// Every table that is about one of the programs.
pub fn of_verify_backups(program: &Path) -> Result<Vec<Table>, Box<dyn Error>> {
    let quick = |lab: &Lab| -> Result<Run, Box<dyn Error>> {
        let mut command = operators_command(program, lab);
        watch::run(command.args(["--no-state", "--max-age", "90000d"]), &[0, 1, 2])
    };
    Ok(vec![
        table("quick check: archives on a node", &[10, 100, 1_000, 10_000], |count| {
            quick(&node_with(count)?)
        })?,
        table("quick check: guests on a node", &[1, 10, 100, 1_000], |count| {
            let vmids: Vec<u32> = (0..count).map(|number| 1_000 + number).collect();
            quick(&LabBuilder::new().small().backups(&[]).more_vms(&vmids).start()?)
        })?,
        table("quick check: nodes with 300 archives each", &[1, 4, 8, 32], |count| {
            let labs = large_homelab(count)?;
            quick(labs.first().ok_or("no lab")?)
        })?,
        table("--local: GiB of a sparse VM's disk", &[1, 16, 128, 1_024], |gibibytes| {
            let lab = LabBuilder::new().small().backups(&[]).start()?;
            let folder = tempfile::tempdir()?;
            sparse_archive(folder.path(), u64::from(gibibytes) << 30)?;
            let mut command = operators_command(program, &lab);
            watch::run(command.arg("--local").arg(folder.path()).args(["--no-state", "--jobs", "1"]), &[0])
        })?,
    ])
}

/// The table that is about states.
pub fn of_restore_tfstate(program: &Path) -> Result<Table, Box<dyn Error>> {
    table("list: versions of a state", &[10, 100, 1_000, 10_000], |count| {
        let states = states::with_versions(count, 6_000)?;
        watch::run(&mut states::listing(program, &states), &[0])
    })
}

#[allow(clippy::cast_precision_loss)]
fn table(
    title: &'static str,
    sizes: &[u32],
    run: impl Fn(u32) -> Result<Run, Box<dyn Error>>,
) -> Result<Table, Box<dyn Error>> {
    let row = |size: &u32| -> Result<(String, Vec<f64>), Box<dyn Error>> {
        let run = run(*size)?;
        Ok((size.to_string(), vec![run.seconds, run.megabytes]))
    };
    let rows = sizes.iter().map(row).collect::<Result<_, _>>()?;
    Ok(Table { title, columns: &["s", "MB"], rows })
}

/// The archive of a VM whose disk was never written to: a stream with every cluster, and no data.
fn sparse_archive(folder: &Path, bytes: u64) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let config = format!("memory: 512\nname: sparse\nscsi0: local-lvm:vm-101-disk-0,size={}G\n", bytes >> 30);
    let header = Header {
        uuid: *b"a sparse archive",
        ctime: 1_769_734_804,
        configs: vec![Config { name: "qemu-server.conf".to_owned(), data: config.into_bytes() }],
        devices: vec![Device { id: 1, name: "drive-scsi0".to_owned(), size: bytes }],
    };
    let file = File::create(folder.join("vzdump-qemu-101-2026_01_30-01_00_04.vma"))?;
    let mut writer = Writer::new(BufWriter::new(file), &header)?;
    for cluster in 0..u32::try_from(bytes / CLUSTER)? {
        writer.cluster(1, cluster, &[])?;
    }
    writer.finish()?.into_inner()?;
    Ok(())
}
