//! From many measurements to a few numbers.

use serde::Serialize;

/// Three points of a distribution.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) p10: f64,
    pub(super) median: f64,
    pub(super) p90: f64,
}

impl Spread {
    /// Of no values: zeroes.
    pub(super) fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.collect();
        sorted.sort_by(f64::total_cmp);
        let at = |percent: usize| {
            let place = (sorted.len().saturating_sub(1) * percent + 50) / 100;
            sorted.get(place).copied().unwrap_or_default()
        };
        Self { p10: at(10), median: at(50), p90: at(90) }
    }
}

/// Whole numbers, of which every one is below 2^53.
#[expect(clippy::cast_precision_loss, reason = "counts, microseconds and KiB are far below 2^53")]
pub(super) fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_of_a_distribution() {
        let spread = Spread::of((0..=100).rev().map(f64::from));
        assert_eq!(spread, Spread { p10: 10.0, median: 50.0, p90: 90.0 });
        assert_eq!(Spread::of([7.0].into_iter()), Spread { p10: 7.0, median: 7.0, p90: 7.0 });
        assert_eq!(Spread::of(std::iter::empty()), Spread::default());
    }
}
