//! Figures: what one run of a load came to.

mod cpu;
mod jain;
mod waits;

use std::time::Duration;

pub use cpu::cpu_time;
pub use jain::jain;
pub use waits::Waits;

/// What one run came to.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Pairs, hand-overs or renewals a second.
    pub rate_per_s: f64,
    /// How long acquiring took.
    pub waits: Waits,
    /// How often each task held the lock; empty if they did not compete.
    pub shares: Vec<u64>,
    /// Requests that the engine had a second, if they can be counted.
    pub requests_per_s: Option<f64>,
    /// How much of one processor the process took, if that says anything.
    pub cpu: Option<f64>,
}

/// So many in this time, as so many a second.
pub fn per_second(count: u64, span: Duration) -> f64 {
    count as f64 / span.as_secs_f64()
}

/// The middle one of some figures; of an even number the mean of the middle two.
pub fn median(figures: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() {
        0 => None,
        n if n % 2 == 1 => Some(figures[middle]),
        _ => Some(f64::midpoint(figures[middle - 1], figures[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median([]), None);
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
