//! Our own random numbers: small, with named streams, and the same for ever.
//!
//! Own, because a seed that is committed today must give the same schedule in five years; the generators of the `rand` crate have
//! changed their output between versions more than once.

/// A SplitMix64 generator (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    /// The stream called `name` of a seed: streams of different names do not disturb each other.
    pub(crate) fn stream(seed: u64, name: &str) -> Self {
        let mut rng = Rng(seed);
        for byte in name.bytes() {
            rng.0 = rng.0.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte);
            rng.next();
        }
        rng
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, which must not be zero. Biased by less than `n` / 2^64.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::Rng;

    /// A changed number here breaks every committed seed.
    #[test]
    fn numbers_never_change() {
        let mut rng = Rng::stream(42, "schedule");
        let drawn = [rng.next(), rng.next(), rng.below(10) as u64];
        assert_eq!(drawn, GOLDEN);
    }
    const GOLDEN: [u64; 3] = [8_027_544_154_554_447_060, 7_923_138_329_984_901_961, 0];
}
