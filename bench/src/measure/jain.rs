//! Fairness as one number.

/// Jain's index over what each got: 1 if all got the same, 1/n if one got everything. If nobody got anything,
/// nobody was treated worse than another: 1.
pub fn jain(shares: &[u64]) -> f64 {
    let sum: f64 = shares.iter().map(|&share| share as f64).sum();
    let squares: f64 = shares.iter().map(|&share| (share as f64).powi(2)).sum();
    if squares == 0.0 { 1.0 } else { sum * sum / (shares.len() as f64 * squares) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_fair_to_starved() {
        let near = |shares: &[u64], index: f64| (jain(shares) - index).abs() < 1e-9;
        assert!(near(&[7, 7, 7, 7], 1.0));
        assert!(near(&[9, 0, 0, 0], 0.25));
        assert!(near(&[1, 3], 0.8));
        assert!(near(&[0, 0], 1.0));
        // What bare SQLite does to a second process (floors.md).
        assert!(jain(&[2472, 1]) < 0.501);
    }
}
