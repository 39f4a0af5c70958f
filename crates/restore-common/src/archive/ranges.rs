//! Which clusters of a disk were seen.

use std::collections::BTreeMap;

/// More pieces than this are no backup: QEMU writes a disk in order, except for what the guest writes meanwhile.
const MOST: usize = 400_000;

/// A set of numbers that come nearly in order, kept as ranges: a disk of any size takes a few bytes.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    /// First number → number behind the last.
    pieces: BTreeMap<u64, u64>,
}

/// What became of a number that was to be added.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// It is in the set now.
    New,
    /// It was there before.
    Twice,
    /// The set has more pieces than a backup can have.
    TooScattered,
}

impl Ranges {
    pub(super) fn add(&mut self, number: u64) -> Added {
        let before = self.pieces.range(..=number).next_back().map(|(first, end)| (*first, *end));
        if before.is_some_and(|(_, end)| number < end) {
            return Added::Twice;
        }
        let end = self.pieces.remove(&(number + 1)).unwrap_or(number + 1);
        match before {
            Some((first, until)) if until == number => self.pieces.insert(first, end),
            _ => self.pieces.insert(number, end),
        };
        if self.pieces.len() > MOST { Added::TooScattered } else { Added::New }
    }

    /// The lowest number below `end` that is not in the set.
    pub(super) fn first_missing(&self, end: u64) -> Option<u64> {
        let seen = match self.pieces.first_key_value() {
            Some((0, until)) => *until,
            _ => 0,
        };
        (seen < end).then_some(seen)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_is_the_set_that_it_seems_to_be(numbers in prop::collection::vec(0_u64..40, 0..80)) {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for number in numbers {
                let expected = if set.insert(number) { Added::New } else { Added::Twice };
                prop_assert_eq!(ranges.add(number), expected);
                prop_assert_eq!(ranges.first_missing(40), (0..40).find(|n| !set.contains(n)));
            }
        }
    }

    #[test]
    fn a_disk_in_order_is_one_piece() {
        let mut ranges = Ranges::default();
        (0..100_000).for_each(|number| assert_eq!(ranges.add(number), Added::New));
        assert_eq!((ranges.pieces.len(), ranges.first_missing(100_000)), (1, None));
    }
}
