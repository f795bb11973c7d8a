//! Randomness that can be had again.

use std::sync::{Mutex, PoisonError};

use landfall_env::Random;

/// Names one run. Two runs of one seed are one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seed(pub u64);

impl Seed {
    /// The seed of a part of the run. It depends on this seed and the label alone, so a part that draws more than it
    /// used to leaves the others as they were.
    pub fn fork(self, label: &str) -> Self {
        let mut state = self.0;
        label.bytes().fold(Self(split_mix(&mut state)), |seed, byte| {
            let mut state = seed.0 ^ u64::from(byte);
            Self(split_mix(&mut state))
        })
    }

    /// The run's generator.
    pub fn random(self) -> SeededRandom {
        let mut state = self.0;
        SeededRandom { seed: self, state: Mutex::new(std::array::from_fn(|_| split_mix(&mut state))) }
    }
}

impl std::fmt::Display for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A generator (xoshiro256++) that draws the same numbers from the same [`Seed`]. Fit for tests and nothing else.
#[derive(Debug)]
pub struct SeededRandom {
    seed: Seed,
    state: Mutex<[u64; 4]>,
}

impl SeededRandom {
    /// A generator of its own for a part of the run; see [`Seed::fork`]. Nothing is drawn from this one.
    pub fn fork(&self, label: &str) -> Self {
        self.seed.fork(label).random()
    }

    /// The next 64 bits.
    pub fn next_u64(&self) -> u64 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let s = &mut *state;
        let next = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let shifted = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= shifted;
        s[3] = s[3].rotate_left(45);
        next
    }

    /// A number in `0..bound`; 0 if the bound is 0.
    pub fn below(&self, bound: u64) -> u64 {
        // The high half of a 128-bit product: without a division, and its bias is below 2^-32 for any bound a test has.
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// True with this probability.
    pub fn chance(&self, probability: f64) -> bool {
        (self.next_u64() >> 11) as f64 / ((1u64 << 53) as f64) < probability
    }
}

impl Random for SeededRandom {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            chunk.copy_from_slice(&self.next_u64().to_le_bytes()[..chunk.len()]);
        }
    }
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_draws_the_same_numbers_in_every_run() {
        let draw = |seed: Seed| {
            let random = seed.random();
            [(); 4].map(|()| random.next_u64())
        };
        assert_eq!(draw(Seed(7)), draw(Seed(7)));
        assert_ne!(draw(Seed(7)), draw(Seed(8)));
    }

    #[test]
    fn a_fork_does_not_depend_on_what_was_drawn_before() {
        let random = Seed(7).random();
        let early = random.fork("network").next_u64();
        random.next_u64();
        assert_eq!(random.fork("network").next_u64(), early);
        assert_ne!(random.fork("disk").next_u64(), early);
    }

    #[test]
    fn numbers_stay_below_their_bound_and_reach_all_of_it() {
        let random = Seed(1).random();
        let mut seen = [0; 5];
        for _ in 0..1_000 {
            seen[random.below(5) as usize] += 1;
        }
        assert!(seen.iter().all(|count| *count > 100), "{seen:?}");
        assert_eq!(random.below(0), 0);
    }
}
