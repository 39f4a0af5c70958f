//! What every recovery program shares.
