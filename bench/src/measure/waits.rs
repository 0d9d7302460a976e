//! How long things took, as a histogram.

use std::time::Duration;

use hdrhistogram::Histogram;

/// The longest that is told apart from longer.
const LONGEST: Duration = Duration::from_secs(600);
/// Decimal digits that are told apart.
const DIGITS: u8 = 3;

/// A histogram of durations, to a thousandth of each.
#[derive(Clone, Debug)]
pub struct Waits {
    nanos: Histogram<u64>,
}

impl Default for Waits {
    fn default() -> Self {
        let longest = u64::try_from(LONGEST.as_nanos()).expect("ten minutes fit");
        // All of its memory is taken now, none while measuring.
        let nanos = Histogram::new_with_bounds(1, longest, DIGITS).expect("the bounds are good");
        Self { nanos }
    }
}

impl Waits {
    /// Adds one.
    pub fn record(&mut self, wait: Duration) {
        self.nanos.saturating_record(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX).max(1));
    }

    /// Adds all of another.
    pub fn add(&mut self, other: &Self) {
        self.nanos.add(&other.nanos).expect("all have the same bounds");
    }

    /// All of them as how long and how often, for another process to take in [again](Self::from_counts).
    pub fn counts(&self) -> Vec<(u64, u64)> {
        self.nanos.iter_recorded().map(|bar| (bar.value_iterated_to(), bar.count_at_value())).collect()
    }

    /// What [`counts`](Self::counts) gave.
    pub fn from_counts(counts: &[(u64, u64)]) -> Self {
        let mut waits = Self::default();
        counts.iter().for_each(|&(nanos, count)| waits.nanos.saturating_record_n(nanos, count));
        waits
    }

    /// In microseconds, what `part` (0 to 1) of them did not exceed; `None` if there are none.
    pub fn quantile_us(&self, part: f64) -> Option<f64> {
        (!self.nanos.is_empty()).then(|| micros(self.nanos.value_at_quantile(part)))
    }

    /// The longest, in microseconds; `None` if there are none.
    pub fn max_us(&self) -> Option<f64> {
        (!self.nanos.is_empty()).then(|| micros(self.nanos.max()))
    }
}

fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_what_was_recorded() {
        let mut waits = Waits::default();
        assert_eq!(waits.max_us(), None);
        let mut more = Waits::default();
        (1..=99).for_each(|ms| waits.record(Duration::from_millis(ms)));
        more.record(Duration::from_secs(5));
        waits.add(&more);
        let near = |got: Option<f64>, want: f64| (got.unwrap() - want).abs() < want / 500.0;
        assert!(near(waits.quantile_us(0.5), 50_000.0));
        assert!(near(waits.quantile_us(0.99), 99_000.0));
        assert!(near(waits.max_us(), 5_000_000.0));
        let again = Waits::from_counts(&waits.counts());
        assert_eq!(again.counts(), waits.counts());
        assert!(near(again.quantile_us(0.5), 50_000.0));
    }
}
