//! Zipf-distributed ranks by rejection-inversion: W. Hörmann and G. Derflinger,
//! "Rejection-inversion to generate variates from monotone discrete distributions", ACM TOMACS
//! 6(3), 1996. Constant time and memory for any number of ranks and any exponent above 0.

use super::rng::Xoshiro;
use crate::num;

/// P(rank k) proportional to k^-s for k in 1..=n.
#[derive(Clone, Debug)]
pub(crate) struct Zipf {
    n: f64,
    s: f64,
    area_first: f64,
    area_all: f64,
    squeeze: f64,
}

impl Zipf {
    pub(crate) fn new(ranks: u32, exponent: f64) -> Self {
        let n = f64::from(ranks.max(1));
        let mut zipf = Self { n, s: exponent, area_first: 0.0, area_all: 0.0, squeeze: 0.0 };
        zipf.area_first = zipf.integral(1.5) - 1.0;
        zipf.area_all = zipf.integral(n + 0.5);
        zipf.squeeze = 2.0 - zipf.inverse(zipf.integral(2.5) - zipf.density(2.0));
        zipf
    }

    /// A rank from 0, the most frequent one, to n - 1.
    pub(crate) fn sample(&self, rng: &mut Xoshiro) -> u32 {
        loop {
            let u = self.area_all + rng.unit() * (self.area_first - self.area_all);
            let x = self.inverse(u);
            let k = (x + 0.5).floor().clamp(1.0, self.n);
            if k - x <= self.squeeze || u >= self.integral(k + 0.5) - self.density(k) {
                return num::u32_of(num::floor_u64(k) - 1);
            }
        }
    }

    /// The density x^-s.
    fn density(&self, x: f64) -> f64 {
        (-self.s * x.ln()).exp()
    }

    /// An antiderivative of the density, written so that s = 1 needs no case of its own.
    fn integral(&self, x: f64) -> f64 {
        let log_x = x.ln();
        expm1_over(log_x * (1.0 - self.s)) * log_x
    }

    fn inverse(&self, area: f64) -> f64 {
        let t = (area * (1.0 - self.s)).max(-1.0);
        (log1p_over(t) * area).exp()
    }
}

/// ln(1 + x) / x, near 0 by its series.
fn log1p_over(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.ln_1p() / x } else { 1.0 - x * (0.5 - x * (1.0 / 3.0 - 0.25 * x)) }
}

/// (e^x - 1) / x, near 0 by its series.
fn expm1_over(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.exp_m1() / x } else { 1.0 + x * 0.5 * (1.0 + x / 3.0 * (1.0 + 0.25 * x)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequencies_follow_the_law() {
        const DRAWS: u32 = 400_000;
        for (ranks, s) in [(10_u32, 1.0), (10, 1.5), (100, 0.5), (7, 3.0)] {
            let zipf = Zipf::new(ranks, s);
            let mut rng = Xoshiro::for_client(42, ranks);
            let mut seen = vec![0_u32; ranks as usize];
            for _ in 0..DRAWS {
                seen[zipf.sample(&mut rng) as usize] += 1;
            }
            let norm: f64 = (1..=ranks).map(|k| f64::from(k).powf(-s)).sum();
            for k in 1..=ranks.min(5) {
                let p = f64::from(k).powf(-s) / norm;
                let expected = p * f64::from(DRAWS);
                let sigma = (expected * (1.0 - p)).sqrt();
                let got = f64::from(seen[k as usize - 1]);
                assert!(
                    (got - expected).abs() < 5.0 * sigma,
                    "n={ranks} s={s} k={k}: {got} vs {expected}"
                );
            }
        }
    }

    #[test]
    fn one_rank_and_huge_ranges_stay_in_range() {
        let mut rng = Xoshiro::for_client(1, 1);
        assert_eq!(Zipf::new(1, 1.1).sample(&mut rng), 0);
        let wide = Zipf::new(u32::MAX, 0.2);
        for _ in 0..1_000 {
            assert!(wide.sample(&mut rng) < u32::MAX);
        }
    }
}
