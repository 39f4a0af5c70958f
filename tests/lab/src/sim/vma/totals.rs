//! How far a pass over an archive is, and what it came to, in the real program's words.

use std::fmt;

use super::CLUSTER_BYTES;

/// How far the reader is. Prints as the real program's line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Can exceed 100: parts of clusters do not count in what is 100.
    pub percent: u64,
    /// Whole clusters, zeros included.
    pub bytes: u64,
    /// Since the data began.
    pub seconds: u64,
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { percent, bytes, seconds } = self;
        write!(f, "progress {percent}% (read {bytes} bytes, duration {seconds} sec)")
    }
}

/// What was read. Prints as the last lines of the real program, without the last line break.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Clusters of all devices, zeros included.
    pub clusters: u64,
    /// Bytes that are not stored because they are zero.
    pub zero_bytes: u64,
    /// The part of them in clusters that hold data too.
    pub partial_zero_bytes: u64,
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.clusters == 0 {
            return f.write_str("vma archive contains no image data");
        }
        let (read, zero) = (self.clusters * CLUSTER_BYTES, self.zero_bytes);
        write!(f, "total bytes read {read}, sparse bytes {zero} ({}%)", share(zero, read))?;
        match read.saturating_sub(zero) {
            0 => Ok(()),
            data => {
                write!(f, "\nspace reduction due to 4K zero blocks {}%", share(self.partial_zero_bytes, data))
            }
        }
    }
}

/// `part` of `whole` in percent, as C's `%.3g` prints it.
#[allow(clippy::cast_precision_loss)] // the real program computes in doubles, too
fn share(part: u64, whole: u64) -> String {
    let percent = 100.0 * part as f64 / whole as f64;
    if percent == 0.0 {
        return "0".into();
    }
    let rounded = format!("{percent:.2e}");
    let Some((mantissa, exponent)) = rounded.split_once('e') else { return rounded };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let trim = |number: &str| match number.split_once('.') {
        Some(_) => number.trim_end_matches('0').trim_end_matches('.').to_owned(),
        None => number.to_owned(),
    };
    if (-4..3).contains(&exponent) {
        let decimals = usize::try_from(2 - exponent).unwrap_or_default();
        return trim(&format!("{percent:.decimals$}"));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trim(mantissa), exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn percentages_have_three_digits_like_in_c() {
        let cases = [(0, 7, "0"), (1, 1, "100"), (13_881_344, 15_269_888, "90.9"), (1, 8, "12.5")];
        for (part, whole, text) in cases.into_iter().chain([
            (15, 1, "1.5e+03"),
            (1, 3, "33.3"),
            (1, 3_000_000, "3.33e-05"),
            (2, 3_000, "0.0667"),
            (9_999, 10_000, "100"),
        ]) {
            assert_eq!(share(part, whole), text, "{part} of {whole}");
        }
    }
}
