//! Skewed draws, as YCSB makes them: J. Gray and others, "Quickly generating billion-record
//! synthetic databases", SIGMOD 1994, with the exponent 0.99.
//!
//! Rank 0 is drawn most often. Keys of neighbouring numbers lie far apart, so ranks can be used as
//! numbers of rows without being scattered again.

use crate::row::Draws;

const THETA: f64 = 0.99;

pub struct Zipf {
    items: u64,
    zeta: f64,
    zeta_of_two: f64,
}

impl Zipf {
    pub fn new(items: u64) -> Zipf {
        let mut zipf = Zipf { items: 0, zeta: 0.0, zeta_of_two: zeta(1, 2) };
        zipf.grow(items);
        zipf
    }

    /// Draws from so many items from now on; never fewer than before.
    pub fn grow(&mut self, items: u64) {
        self.zeta += zeta(self.items + 1, items);
        self.items = items;
    }

    /// A rank below the number of items.
    pub fn rank(&self, draws: &mut Draws) -> u64 {
        let fraction = draws.fraction();
        let scaled = fraction * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < self.zeta_of_two {
            return 1.min(self.items - 1);
        }
        let items = self.items as f64;
        let eta = (1.0 - (2.0 / items).powf(1.0 - THETA)) / (1.0 - self.zeta_of_two / self.zeta);
        let rank = items * (eta * fraction - eta + 1.0).powf(1.0 / (1.0 - THETA));
        (rank as u64).min(self.items - 1)
    }
}

fn zeta(first: u64, last: u64) -> f64 {
    (first..=last).map(|rank| (rank as f64).powf(-THETA)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_drawn_as_often_as_zipf_says() {
        let zipf = Zipf::new(1_000);
        let mut draws = Draws::new(1);
        let mut counts = vec![0_u64; 1_000];
        for _ in 0..1_000_000 {
            counts[zipf.rank(&mut draws) as usize] += 1;
        }
        for rank in [0, 1] {
            let expected = 1e6 * (rank as f64 + 1.0).powf(-THETA) / zipf.zeta;
            let ratio = counts[rank] as f64 / expected;
            assert!((0.97..1.03).contains(&ratio), "rank {rank}: {ratio}");
        }
        // Beyond the first two the method interpolates, so only sums are near.
        let expected = 1e6 * zeta(1, 100) / zipf.zeta;
        let ratio = counts[..100].iter().sum::<u64>() as f64 / expected;
        assert!((0.95..1.05).contains(&ratio), "the first hundred: {ratio}");
        assert!(counts[999] > 0 && counts[0] > counts[100]);
    }

    #[test]
    fn growing_gives_what_a_new_one_would() {
        let mut grown = Zipf::new(10);
        grown.grow(1_000);
        assert!((grown.zeta - Zipf::new(1_000).zeta).abs() < 1e-9);
    }

    #[test]
    fn few_items_suffice() {
        let mut draws = Draws::new(1);
        assert!((0..100).all(|_| Zipf::new(1).rank(&mut draws) == 0));
        assert!((0..100).all(|_| Zipf::new(2).rank(&mut draws) < 2));
    }
}
