//! How long a disk is waited for that does not answer.
//!
//! A read from a share whose server is gone may hang for ever, and nothing can end it. What can be done is to wait no
//! longer, to report the source, and to ask a disk that keeps hanging less and less, so that it holds up nobody.

use std::time::Duration;

/// How a disk has answered lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DiskHealth {
    hung: u32,
    in_a_row: u32,
}

impl DiskHealth {
    /// After so many silences in a row a disk is waited for less: a healthy one answers in much less than that.
    pub const DOUBTED_AFTER: u32 = 4;
    /// After so many silences in a row a disk is not asked any more until it has answered one of them after all.
    pub const GIVEN_UP_AFTER: u32 = 32;
    /// Which part of the limit a doubted disk gets.
    const DOUBTED_SHARE: u32 = 5;

    /// How long its next answer is waited for, if `limit` is what a healthy disk gets; `None` if it is not to be asked.
    pub fn patience(self, limit: Duration) -> Option<Duration> {
        match self.in_a_row {
            Self::GIVEN_UP_AFTER.. => None,
            Self::DOUBTED_AFTER.. => Some(limit / Self::DOUBTED_SHARE),
            _ => Some(limit),
        }
    }

    /// It has not answered within its time; the call still hangs.
    pub fn fell_silent(&mut self) {
        self.hung += 1;
        self.in_a_row += 1;
    }

    /// It has answered; `late` if that call had been given up before.
    pub fn answered(&mut self, late: bool) {
        self.hung -= u32::from(late).min(self.hung);
        self.in_a_row = 0;
    }

    /// Calls that hang now.
    pub fn hung(self) -> u32 {
        self.hung
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(15);

    fn silent(times: u32) -> DiskHealth {
        let mut health = DiskHealth::default();
        (0..times).for_each(|_| health.fell_silent());
        health
    }

    #[test]
    fn a_disk_that_keeps_silent_is_waited_for_less_and_then_not_asked() {
        assert_eq!(silent(0).patience(LIMIT), Some(LIMIT));
        assert_eq!(silent(3).patience(LIMIT), Some(LIMIT));
        assert_eq!(silent(4).patience(LIMIT), Some(Duration::from_secs(3)));
        assert_eq!(silent(31).patience(LIMIT), Some(Duration::from_secs(3)));
        assert_eq!(silent(32).patience(LIMIT), None);
    }

    #[test]
    fn one_answer_makes_up_for_all_silences() {
        for late in [false, true] {
            let mut health = silent(40);
            health.answered(late);
            assert_eq!(health.patience(LIMIT), Some(LIMIT));
            assert_eq!(health.hung(), 40 - u32::from(late));
        }
    }
}
