//! What a run found, and the ways to show it.

mod file;
mod json;
mod metrics;
mod model;
mod page;
mod text;

pub use file::write;
pub use json::json;
pub use metrics::metrics;
pub use model::{
    ArchivePart, BucketPart, DrillPart, GuestPart, Level, NodePart, ReadyPart, Report, ServicePart, Totals,
    Verified, VersionPart,
};
pub use page::page;
pub use text::text;
