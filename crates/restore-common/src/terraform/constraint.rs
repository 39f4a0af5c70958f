//! Whether a version fits a constraint, as `required_version` writes it. Source: Terraform's documentation of version
//! constraints.

use std::cmp::Ordering;

/// Numbers of a version, and whether it is one before a release.
struct Version {
    numbers: [u64; 3],
    /// How many of them were written.
    written: usize,
    pre_release: bool,
}

impl Version {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_start_matches('v').split('+').next()?;
        let (plain, pre) = text.split_once('-').map_or((text, None), |(plain, pre)| (plain, Some(pre)));
        let mut numbers = [0; 3];
        let mut written = 0;
        for part in plain.split('.') {
            *numbers.get_mut(written)? = part.parse().ok()?;
            written += 1;
        }
        Some(Self { numbers, written, pre_release: pre.is_some() })
    }

    /// One before a release comes before it.
    fn compare(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers).then(other.pre_release.cmp(&self.pre_release))
    }
}

/// Whether `version` fits all parts of `constraint`: `>= 1.9, < 2.0`. `None` where one of them is not understood.
pub fn accepts(constraint: &str, version: &str) -> Option<bool> {
    let version = Version::parse(version)?;
    let mut fits = true;
    for part in constraint.split(',').map(str::trim) {
        let at = part.find(|c: char| c.is_ascii_digit() || c == 'v')?;
        let (sign, wanted) = (part[..at].trim(), Version::parse(&part[at..])?);
        let order = version.compare(&wanted);
        fits &= match sign {
            "" | "=" => order.is_eq(),
            "!=" => order.is_ne(),
            ">" => order.is_gt(),
            ">=" => order.is_ge(),
            "<" => order.is_lt(),
            "<=" => order.is_le(),
            // Only the last number that is written may go up.
            "~>" => {
                let kept = wanted.written.saturating_sub(1).max(1);
                order.is_ge() && version.numbers[..kept] == wanted.numbers[..kept]
            }
            _ => return None,
        };
    }
    Some(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case(">= 1.9", "1.11.4", Some(true))]
    #[case(">= 1.9", "1.8.5", Some(false))]
    #[case(">= 1.9, < 2.0", "2.0.0", Some(false))]
    #[case("~> 1.9", "1.11.4", Some(true))]
    #[case("~> 1.9", "2.0.0", Some(false))]
    #[case("~> 1.9.0", "1.10.0", Some(false))]
    #[case("~>1.9.2", "1.9.1", Some(false))]
    #[case("1.11.4", "1.11.4", Some(true))]
    #[case("= v1.11.4", "1.11.5", Some(false))]
    #[case("!= 1.11.4", "1.11.4", Some(false))]
    #[case(">= 1.12.0", "1.12.0-rc1", Some(false))]
    #[case("> 1.11", "1.12.6-dev", Some(true))]
    #[case("newest", "1.11.4", None)]
    #[case("", "1.11.4", None)]
    #[case("=> 1.9", "1.11.4", None)]
    #[case(">= 1.9.0.1", "1.11.4", None)]
    fn a_version_fits_or_not(#[case] constraint: &str, #[case] version: &str, #[case] fits: Option<bool>) {
        assert_eq!(accepts(constraint, version), fits, "{constraint}");
    }
}
