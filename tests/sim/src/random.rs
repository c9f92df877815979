//! Pseudo-random numbers: the same seed gives the same numbers on every machine.

/// A stream of numbers.
#[derive(Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Random {
        Random { state: seed }
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        // An odd step visits every state; multiplying and folding hides how near they are.
        const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
        self.state = self.state.wrapping_add(ODD);
        let once = (self.state ^ (self.state >> 32)).wrapping_mul(ODD);
        let twice = (once ^ (once >> 29)).wrapping_mul(ODD);
        twice ^ (twice >> 32)
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound
    }

    /// A place among `count` ones, of which there is at least one.
    pub fn index(&mut self, count: usize) -> usize {
        usize::try_from(self.below(count as u64)).expect("it is below a usize")
    }

    /// A place, drawn by weight; the first one where all weights are zero.
    pub fn weighted(&mut self, weights: &[u64]) -> usize {
        let sum: u64 = weights.iter().sum();
        let mut place = self.below(sum.max(1));
        let passed = weights.iter().position(|weight| {
            let is_here = place < *weight;
            place = place.saturating_sub(*weight);
            is_here
        });
        passed.unwrap_or(0)
    }

    /// True `percent` times out of a hundred.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Fills `target` with noise.
    pub fn fill(&mut self, target: &mut [u8]) {
        for piece in target.chunks_mut(8) {
            piece.copy_from_slice(&self.draw().to_le_bytes()[..piece.len()]);
        }
    }
}
