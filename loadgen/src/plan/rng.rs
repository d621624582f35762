//! The generator of plans: xoshiro256** seeded through SplitMix64, both by Blackman and Vigna
//! (public domain, <https://prng.di.unimi.it>).
//!
//! Written out here because a plan, and its hash, must not change with a dependency.

/// SplitMix64: turns one word of seed into as many as wanted.
#[derive(Clone, Debug)]
pub(crate) struct SplitMix(u64);

impl SplitMix {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// xoshiro256**.
#[derive(Clone, Debug)]
pub(crate) struct Xoshiro([u64; 4]);

impl Xoshiro {
    /// The stream that belongs to `client` under `seed`.
    pub(crate) fn for_client(seed: u64, client: u32) -> Self {
        let mut outer = SplitMix::new(seed);
        let mut inner = SplitMix::new(outer.next() ^ SplitMix::new(u64::from(client)).next());
        Self([inner.next(), inner.next(), inner.next(), inner.next()])
    }

    pub(crate) fn next(&mut self) -> u64 {
        let [a, b, c, d] = self.0;
        let result = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let (c2, d2) = (c ^ a, d ^ b);
        self.0 = [a ^ d2, b ^ c2, c2 ^ (b << 17), d2.rotate_left(45)];
        result
    }

    /// Uniform in [0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
    }

    /// Uniform in [0, bound); `bound` 0 gives 0. Lemire's multiplication without the rejection
    /// step: the bias is below bound / 2^64.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next()) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// Exponential with mean 1, at most 36.8 (the generator's 53 bits).
    pub(crate) fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitmix_gives_the_published_sequence() {
        let mut rng = SplitMix::new(1_234_567);
        let got: Vec<u64> = (0..5).map(|_| rng.next()).collect();
        assert_eq!(
            got,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423,
                4_593_380_528_125_082_431,
                16_408_922_859_458_223_821
            ]
        );
    }

    #[test]
    fn xoshiro_gives_the_published_sequence() {
        let mut rng = Xoshiro([1, 2, 3, 4]);
        let got: Vec<u64> = (0..6).map(|_| rng.next()).collect();
        assert_eq!(
            got,
            [
                11_520,
                0,
                1_509_978_240,
                1_215_971_899_390_074_240,
                1_216_172_134_540_287_360,
                607_988_272_756_665_600
            ]
        );
    }

    #[test]
    fn streams_of_clients_differ_and_values_stay_in_range() {
        let mut a = Xoshiro::for_client(1, 0);
        let mut b = Xoshiro::for_client(1, 1);
        assert_ne!(a.next(), b.next());
        for _ in 0..10_000 {
            assert!((0.0..1.0).contains(&a.unit()));
            assert!(a.below(7) < 7);
            assert!(a.exponential() >= 0.0);
        }
        assert_eq!(a.below(0), 0);
    }
}
