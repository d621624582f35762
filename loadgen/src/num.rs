//! Conversions between number types that saturate instead of wrapping.
//!
//! The only file of the crate that narrows with `as`.

/// `value` rounded down; NaN and negatives give 0, too large ones `u64::MAX`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float-to-integer `as` saturates and turns NaN into 0, which is what is wanted"
)]
pub(crate) fn floor_u64(value: f64) -> u64 {
    value as u64
}

/// `value`, or `u32::MAX` if it is larger.
pub(crate) fn u32_of(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// `value`, or `u64::MAX` if it is larger.
pub(crate) fn u64_of(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// `value`, or `usize::MAX` if it is larger.
pub(crate) fn usize_of(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// `part / whole`, 0 when there is nothing to divide by.
pub(crate) fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// The value of `value` when it can be written as a JSON number.
pub(crate) fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversions_saturate() {
        assert_eq!(floor_u64(f64::NAN), 0);
        assert_eq!(floor_u64(-3.0), 0);
        assert_eq!(floor_u64(1e300), u64::MAX);
        assert_eq!(floor_u64(2.9), 2);
        assert_eq!(u32_of(u64::MAX), u32::MAX);
        assert!((share(1, 4) - 0.25).abs() < 1e-12);
        assert!(share(1, 0).abs() < 1e-12);
        assert_eq!(finite(f64::INFINITY), None);
    }
}
