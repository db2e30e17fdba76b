//! What may be waited for: whoever is traced may choose how long it takes to read its files.

use std::time::{Duration, Instant};

/// What was waited for is owed, and paid off with one part in so many of the time.
const SHARE: u32 = 10;

/// Time that was waited for something.
#[derive(Debug)]
pub(super) struct Account {
    /// What was owed at a moment.
    debt: Duration,
    /// See `debt`.
    at: Instant,
    /// From here on there is no more waiting.
    limit: Duration,
}

impl Account {
    pub(super) fn new(limit: Duration) -> Self {
        Self { debt: Duration::ZERO, at: Instant::now(), limit }
    }

    /// Whether there may be more waiting.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        self.debt(now) < self.limit
    }

    /// Takes note that so much time was waited.
    pub(super) fn charge(&mut self, waited: Duration, now: Instant) {
        (self.debt, self.at) = (self.debt(now) + waited, now);
    }

    fn debt(&self, now: Instant) -> Duration {
        self.debt.saturating_sub(now.saturating_duration_since(self.at) / SHARE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_all_the_time_waits_for_a_share_of_it() {
        const STEP: Duration = Duration::from_millis(100);
        let limit = Duration::from_secs(2);
        let mut account = Account::new(limit);
        let (begin, mut now, mut waited) = (account.at, account.at, Duration::ZERO);
        while now < begin + Duration::from_secs(200) {
            now += STEP;
            if account.is_open(now) {
                account.charge(STEP, now);
                waited += STEP;
            }
        }
        let share = (now - begin) / SHARE;
        assert!(waited >= share && waited <= limit + share + STEP, "{waited:?}");
    }

    #[test]
    fn what_is_owed_for_long_is_paid_off() {
        let mut account = Account::new(Duration::from_secs(2));
        let begin = account.at;
        account.charge(Duration::from_secs(3), begin);
        assert!(!account.is_open(begin + Duration::from_secs(9)));
        assert!(account.is_open(begin + Duration::from_secs(11)));
        let later = begin + Duration::from_secs(1000);
        account.charge(Duration::from_secs(1), later);
        assert!(account.is_open(later), "nothing is owed any more");
        account.charge(Duration::from_secs(1), later);
        assert!(!account.is_open(later), "nothing is saved up either");
    }
}
