//! When a command is asked to end and when it is killed, as a pure state machine: it is told the time.
//!
//! It knows deadlines, not processes. Once it has asked for the end there is no way back: a command that was
//! told to stop is not one that still works under the lock, however late the good news comes.

use std::time::Duration;

use leasehold_core::Moment;

/// How long before the deadline the grace is over, so that killing a whole tree has time of its own.
pub(crate) const MARGIN: Duration = Duration::from_millis(500);

/// How long before the deadline killing starts at the latest, also if asking came late.
pub(crate) const KILL_LEAD: Duration = Duration::from_millis(50);

/// What has to be done to the command now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Order {
    /// Ask all of it to end.
    Terminate,
    /// Kill all of it, until nothing is left.
    Kill,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Running,
    /// Somebody wants it stopped before its time.
    Asked,
    Stopping {
        kill_at: Moment,
    },
    Killing,
}

/// The life of a command under a hold with a deadline.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    deadline: Moment,
    grace: Duration,
    stage: Stage,
}

impl Schedule {
    /// For a command that needs `grace` to end in order.
    pub(crate) fn new(deadline: Moment, grace: Duration) -> Self {
        Self { deadline, grace, stage: Stage::Running }
    }

    /// The hold lasts longer. Deadlines never move back.
    pub(crate) fn renew(&mut self, deadline: Moment) {
        self.deadline = self.deadline.max(deadline);
    }

    /// Ends the command now, with its grace as far as the deadline allows.
    pub(crate) fn stop(&mut self) {
        if self.stage == Stage::Running {
            self.stage = Stage::Asked;
        }
    }

    /// Ends the command now, with no grace.
    pub(crate) fn kill(&mut self) {
        self.stage = Stage::Killing;
    }

    /// Whether nothing but killing is left to do.
    pub(crate) fn killing(&self) -> bool {
        self.stage == Stage::Killing
    }

    /// Whether the command may still be started.
    pub(crate) fn running(&self) -> bool {
        self.stage == Stage::Running
    }

    /// What has to be done now, each thing once.
    pub(crate) fn due(&mut self, now: Moment) -> Option<Order> {
        let asked = self.stage == Stage::Asked;
        match self.stage {
            Stage::Running | Stage::Asked if now >= self.kill_at_the_latest() => self.order_kill(),
            Stage::Running | Stage::Asked if asked || now >= self.soft() => {
                self.stage = Stage::Stopping { kill_at: (now + self.grace).min(self.kill_at_the_latest()) };
                Some(Order::Terminate)
            }
            Stage::Stopping { kill_at } if now >= kill_at => self.order_kill(),
            _ => None,
        }
    }

    /// When to look next; `None` if time changes nothing any more.
    pub(crate) fn next(&self) -> Option<Moment> {
        match self.stage {
            Stage::Running => Some(self.soft()),
            Stage::Asked => Some(Moment::BOOT),
            Stage::Stopping { kill_at } => Some(kill_at),
            Stage::Killing => None,
        }
    }

    fn order_kill(&mut self) -> Option<Order> {
        self.stage = Stage::Killing;
        Some(Order::Kill)
    }

    fn soft(&self) -> Moment {
        self.deadline - self.grace - MARGIN
    }

    fn kill_at_the_latest(&self) -> Moment {
        self.deadline - KILL_LEAD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(5);

    fn at(seconds: f64) -> Moment {
        Moment::BOOT + Duration::from_secs_f64(seconds)
    }

    #[test]
    fn without_news_it_is_asked_then_killed_before_the_deadline() {
        let mut schedule = Schedule::new(at(30.0), GRACE);
        assert_eq!(schedule.due(at(24.4)), None);
        assert_eq!(schedule.next(), Some(at(24.5)));
        assert_eq!(schedule.due(at(24.5)), Some(Order::Terminate));
        assert_eq!(schedule.due(at(29.4)), None);
        assert_eq!(schedule.next(), Some(at(29.5)), "it has all of its grace, and killing half a second");
        assert_eq!(schedule.due(at(29.5)), Some(Order::Kill));
        assert_eq!((schedule.due(at(30.0)), schedule.next()), (None, None));
    }

    #[test]
    fn renewals_put_it_off_and_never_bring_it_forward() {
        let mut schedule = Schedule::new(at(30.0), GRACE);
        schedule.renew(at(40.0));
        schedule.renew(at(35.0));
        assert_eq!(schedule.due(at(34.0)), None);
        assert_eq!(schedule.next(), Some(at(34.5)));
    }

    #[test]
    fn what_was_asked_to_end_stays_so() {
        let mut schedule = Schedule::new(at(30.0), GRACE);
        assert_eq!(schedule.due(at(25.0)), Some(Order::Terminate));
        schedule.renew(at(60.0));
        schedule.stop();
        assert!(!schedule.running());
        assert_eq!(schedule.due(at(29.0)), None);
        assert_eq!(schedule.due(at(30.0)), Some(Order::Kill), "its grace is over");
    }

    #[test]
    fn a_late_start_of_stopping_shortens_the_grace_not_the_safety() {
        let mut schedule = Schedule::new(at(30.0), GRACE);
        assert_eq!(schedule.due(at(28.0)), Some(Order::Terminate));
        assert_eq!(schedule.next(), Some(at(29.95)));
        let mut slept = Schedule::new(at(30.0), GRACE);
        assert_eq!(slept.due(at(31.0)), Some(Order::Kill));
        let mut slept = Schedule::new(at(30.0), GRACE);
        slept.stop();
        assert_eq!(slept.due(at(29.96)), Some(Order::Kill));
    }

    #[test]
    fn a_stop_gives_the_grace_from_now() {
        let mut schedule = Schedule::new(at(30.0), GRACE);
        schedule.stop();
        assert_eq!(schedule.next(), Some(Moment::BOOT), "at once");
        assert_eq!(schedule.due(at(10.0)), Some(Order::Terminate));
        assert_eq!(schedule.next(), Some(at(15.0)));
    }

    #[test]
    fn a_kill_gives_none() {
        let mut schedule = Schedule::new(at(30.0), GRACE);
        schedule.kill();
        assert!(schedule.killing());
        assert_eq!(schedule.due(at(1.0)), None, "the caller kills until nothing is left");
    }
}
