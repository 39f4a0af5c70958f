//! What the operator sees and is asked.
//!
//! Everything here goes to standard error; standard output belongs to the report. Text from elsewhere passes through
//! [`sanitize()`] before it is shown.

mod color;
pub mod format;
mod log;
mod progress;
mod prompt;
mod sanitize;
mod secret;
mod table;

pub use color::ColorChoice;
pub use log::{init_log, level};
pub use progress::{Progress, ProgressMode, suspended};
pub use prompt::{Answer, Prompt};
pub use sanitize::{escape_json, sanitize, sanitize_lines, sanitize_styled};
pub use secret::Secret;
pub use table::Table;
