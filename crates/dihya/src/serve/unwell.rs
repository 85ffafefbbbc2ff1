//! What ails the program itself pages people: late checkpoints, a full disk.
//!
//! The alert ends by itself soon after it was last renewed, so that nothing needs to be remembered over a restart.

use std::time::Duration;

use model::{Alert, Sector, Severity, Timestamp};

/// The alert's name.
pub(super) const NAME: &str = "DihyaUnwell";
/// How often in a row something must be found before people are told: one slow sync is no alarm.
const LOOKS: u32 = 2;
/// How often the alert is renewed while something ails.
const RENEW_EVERY: Duration = Duration::from_secs(60);
/// How long the alert fires after it was last renewed.
const FIRES_FOR: Duration = Duration::from_secs(150);

/// Turns ailments into an alert and its end.
#[derive(Debug, Default)]
pub(super) struct Unwell {
    looks: u32,
    /// What fires, and when it was last renewed.
    firing: Option<(Alert, Duration)>,
}

impl Unwell {
    /// Returns the alert to be admitted after a look, if any. `now` is shown, `elapsed` is the steady clock's.
    pub(super) fn look(&mut self, ailments: &[String], now: Timestamp, elapsed: Duration) -> Option<Alert> {
        if ailments.is_empty() {
            self.looks = 0;
            let (mut alert, _) = self.firing.take()?;
            alert.ends_at = Some(now.max(alert.starts_at));
            return Some(alert);
        }
        self.looks = self.looks.saturating_add(1);
        let is_due = match &self.firing {
            None => self.looks >= LOOKS,
            Some((_, renewed)) => elapsed.saturating_sub(*renewed) >= RENEW_EVERY,
        };
        if !is_due {
            return None;
        }
        let starts_at = self.firing.as_ref().map_or(now, |(alert, _)| alert.starts_at);
        let alert = alert(ailments, starts_at, now + FIRES_FOR);
        self.firing = Some((alert.clone(), elapsed));
        Some(alert)
    }
}

fn alert(ailments: &[String], starts_at: Timestamp, ends_at: Timestamp) -> Alert {
    let labels = [(Alert::NAME, NAME), (Alert::SERVICE, "dihya"), (Alert::SEVERITY, Severity::Critical.as_str())];
    Alert {
        labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        annotations: [("summary".to_owned(), format!("Dihya itself is unwell: {}", ailments.join("; ")))].into(),
        starts_at,
        ends_at: Some(ends_at),
        generator_url: None,
        severity: Severity::Critical,
        sector: Sector::None,
        channel: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_fires_is_renewed_and_ends() {
        let mut unwell = Unwell::default();
        let late = ["ledger: checkpoints are late".to_owned()];
        let at = |seconds: u64| Timestamp::UNIX_EPOCH + Duration::from_secs(seconds);
        let mut look = |ailments: &[String], seconds| unwell.look(ailments, at(seconds), Duration::from_secs(seconds));

        assert_eq!(look(&late, 0), None, "one look is no alarm");
        assert_eq!(look(&[], 5), None);
        assert_eq!(look(&late, 10), None);
        let fired = look(&late, 15).expect("fires");
        assert_eq!((fired.name(), fired.starts_at, fired.ends_at), (NAME, at(15), Some(at(165))));
        assert_eq!(fired.annotations["summary"], "Dihya itself is unwell: ledger: checkpoints are late");
        assert_eq!(look(&late, 70), None, "is renewed only now and then");
        let renewed = look(&late, 75).expect("is renewed");
        assert_eq!((renewed.starts_at, renewed.ends_at), (at(15), Some(at(225))));
        let ended = look(&[], 80).expect("ends");
        assert_eq!((ended.labels, ended.starts_at, ended.ends_at), (fired.labels, at(15), Some(at(80))));
        assert_eq!(look(&[], 85), None);
    }
}
