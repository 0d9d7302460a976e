//! Clocks that are wrong: each node's starts anywhere, runs a little fast or slow, and its wall clock jumps.
//!
//! How a clock goes is drawn before the run begins, so that it can be converted to true time and back exactly.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use leasehold_core::clock::Sleep;
use leasehold_core::{Clock, Moment};

use crate::executor::{Executor, Timer, True, nanos};

const BILLION: i128 = 1_000_000_000;

/// A stretch of time in which a clock runs at one rate.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    from: True,
    /// What the clock shows then.
    shows: u64,
    /// How many nanoseconds it gains in a second.
    gain: i64,
}

/// How one clock goes.
#[derive(Clone, Debug)]
pub struct Course {
    stretches: Vec<Stretch>,
    wall_micros: u64,
    /// By how many microseconds the wall clock is off, from when on.
    jumps: Vec<(True, i64)>,
}

impl Course {
    /// A clock that shows `shows` at the beginning and gains `gain` nanoseconds a second.
    pub fn new(shows: Duration, gain: i64, wall_micros: u64) -> Self {
        let first = Stretch { from: 0, shows: nanos(shows), gain };
        Self { stretches: vec![first], wall_micros, jumps: Vec::new() }
    }

    /// Changes the rate from a time on, which must be after the last change.
    pub fn change(&mut self, from: True, gain: i64) {
        let shows = self.shows(from);
        self.stretches.push(Stretch { from, shows, gain });
    }

    /// Puts the wall clock off by so much from a time on, which must be after the last jump.
    pub fn jump(&mut self, from: True, micros: i64) {
        self.jumps.push((from, micros));
    }

    /// The wall clock shows true time, counted from here.
    pub fn true_wall(&mut self, micros: u64) {
        (self.wall_micros, self.jumps) = (micros, Vec::new());
    }

    /// What the boot-time clock shows at a true time.
    pub fn shows(&self, at: True) -> u64 {
        let stretch = self.stretches.iter().rev().find(|s| s.from <= at).unwrap_or(&self.stretches[0]);
        let past = i128::from(at - stretch.from);
        stretch.shows + (past + past * i128::from(stretch.gain) / BILLION) as u64
    }

    /// The first true time at which the clock shows `moment` or more.
    pub fn true_at(&self, moment: Moment) -> True {
        let shows = moment.as_nanos();
        if moment == Moment::NEVER {
            return True::MAX;
        }
        let Some(stretch) = self.stretches.iter().rev().find(|s| s.shows <= shows) else { return 0 };
        let ahead = i128::from(shows - stretch.shows);
        let mut at = stretch.from + (ahead * BILLION / (BILLION + i128::from(stretch.gain))) as u64;
        while self.shows(at) < shows {
            at += 1;
        }
        while at > 0 && self.shows(at - 1) >= shows {
            at -= 1;
        }
        at
    }

    /// What the wall clock shows, in microseconds.
    pub fn wall(&self, at: True) -> u64 {
        let off = self.jumps.iter().rev().find(|(from, _)| *from <= at).map_or(0, |(_, off)| *off);
        (self.wall_micros + at / 1000).saturating_add_signed(off)
    }
}

/// A node's clock.
#[derive(Clone)]
pub struct SimClock {
    executor: Executor,
    course: Arc<Course>,
}

impl SimClock {
    /// A clock that goes as drawn.
    pub fn new(executor: Executor, course: Course) -> Self {
        Self { executor, course: Arc::new(course) }
    }

    /// What it shows at a true time.
    pub fn at(&self, at: True) -> Moment {
        Moment::from_nanos(self.course.shows(at))
    }

    /// How it goes.
    pub fn course(&self) -> &Course {
        &self.course
    }
}

impl fmt::Debug for SimClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SimClock").field(&self.now()).finish()
    }
}

impl Clock for SimClock {
    fn now(&self) -> Moment {
        Moment::from_nanos(self.course.shows(self.executor.now()))
    }

    fn wall_micros(&self) -> u64 {
        self.course.wall(self.executor.now())
    }

    fn sleep_until(&self, at: Moment) -> Sleep {
        Box::pin(Timer { executor: self.executor.clone(), at: self.course.true_at(at), key: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_converts_to_true_time_and_back() {
        for gain in [-2_000_000, -1, 0, 1, 1_999_999] {
            let mut course = Course::new(Duration::from_secs(77), gain, 0);
            course.change(5_000_000_007, -gain / 2);
            for at in [0, 1, 999_999_999, 5_000_000_006, 5_000_000_007, 5_000_000_008, 60_000_000_000] {
                let shows = Moment::from_nanos(course.shows(at));
                let back = course.true_at(shows);
                assert!(back <= at && course.shows(back) >= shows.as_nanos(), "{gain} {at} {back}");
                assert!(back == 0 || course.shows(back - 1) < shows.as_nanos(), "{gain} {at} {back}");
            }
        }
    }
}
