//! Which clusters of a disk were seen.

use std::collections::BTreeMap;

/// Clusters in a page: 256 MiB of a disk.
const PAGE: u64 = 4096;
const WORD: u64 = u64::BITS as u64;
const WORDS: usize = (PAGE / WORD) as usize;

/// A set of numbers, a bit each. Only pages that were begun take room: a busy guest's disk may come in any order, and a
/// hostile header may tell any size.
#[derive(Debug, Default)]
pub(super) struct Clusters {
    /// So many pages from the first one on are full.
    full: u64,
    /// Those behind them that were begun.
    begun: BTreeMap<u64, Page>,
}

impl Clusters {
    /// Whether the number is new.
    pub(super) fn add(&mut self, number: u64) -> bool {
        let page = number / PAGE;
        if page < self.full || !self.begun.entry(page).or_default().add(number % PAGE) {
            return false;
        }
        while self.begun.first_key_value().is_some_and(|(first, page)| *first == self.full && page.left == 0)
        {
            self.begun.pop_first();
            self.full += 1;
        }
        true
    }

    /// The lowest number below `end` that is not in the set.
    pub(super) fn first_missing(&self, end: u64) -> Option<u64> {
        let within = self.begun.get(&self.full).map_or(0, Page::first_missing);
        let missing = self.full * PAGE + within;
        (missing < end).then_some(missing)
    }

    /// How many pages take room.
    pub(super) fn pages(&self) -> usize {
        self.begun.len()
    }
}

#[derive(Debug)]
struct Page {
    bits: Box<[u64; WORDS]>,
    left: u64,
}

impl Default for Page {
    fn default() -> Self {
        Self { bits: Box::new([0; WORDS]), left: PAGE }
    }
}

impl Page {
    fn add(&mut self, number: u64) -> bool {
        let (word, bit) = (&mut self.bits[(number / WORD) as usize], 1 << (number % WORD));
        let new = *word & bit == 0;
        *word |= bit;
        self.left -= u64::from(new);
        new
    }

    /// The lowest number that is not in it.
    fn first_missing(&self) -> u64 {
        let whole = self.bits.iter().take_while(|word| **word == u64::MAX).count();
        let ones = self.bits.get(whole).map_or(0, |word| word.trailing_ones());
        whole as u64 * WORD + u64::from(ones)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// The end of three pages.
    const END: u64 = 3 * PAGE;

    /// Runs, so that pages become full, in any order and overlapping.
    fn runs() -> impl Strategy<Value = Vec<(u64, u64)>> {
        prop::collection::vec((0..END, 1..PAGE), 0..12)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_is_the_set_that_it_seems_to_be(runs in runs()) {
            let (mut clusters, mut set) = (Clusters::default(), BTreeSet::new());
            for number in runs.into_iter().flat_map(|(first, count)| first..END.min(first + count)) {
                prop_assert_eq!(clusters.add(number), set.insert(number));
            }
            let missing = (0..END).find(|number| !set.contains(number));
            prop_assert_eq!(clusters.first_missing(END), missing);
        }
    }

    #[test]
    fn what_is_full_takes_no_room() {
        let mut clusters = Clusters::default();
        assert!((PAGE..END).rev().chain(0..PAGE).all(|number| clusters.add(number)));
        assert_eq!((clusters.pages(), clusters.first_missing(END)), (0, None));
        assert!(!clusters.add(PAGE) && clusters.first_missing(END + 1) == Some(END));
    }
}
