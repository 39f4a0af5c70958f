//! What a node tells, typed.
//!
//! Everything a node prints is parsed here; nothing past this module sees JSON or text. Shapes and messages are those
//! of PVE 8.4 and 9.2. Numbers may arrive as strings and flags are absent when false (see `json`).

mod address;
mod archive;
mod config;
mod facts;
mod ha;
mod ids;
mod jobs;
mod json;
mod neighbours;
mod output;
mod schedule;
mod snapshot;

pub use address::{addresses_command, first_address};
pub use archive::{Archive, ArchiveName, Compression, LocalTime, archives_in, list_archives};
pub use config::{Disk, GuestConfig, Property, map_lines};
pub use facts::{Bridge, Cluster, HaResource, NodeFacts, Storage, Task, ThinPool, running_state, tasks_in};
pub use ha::{HaService, ha_sid};
pub use ids::{GuestKind, IdError, NodeName, StorageId, Vmid, VolumeId};
pub use jobs::{BackupJob, BackupRun, ask_pools, pools_in};
pub use json::PveError;
pub use neighbours::{
    GuestRef, RunningGuest, neighbour_in, neighbour_question, running_guests, running_guests_questions,
};
pub use output::{
    Measured, Meter, VerifySummary, archive_begun, archive_written, device_sizes, verify_summary,
};
pub use snapshot::{OnServer, Verification};
