//! Scripted misbehaviour: rules that say for which push, how often and after which delay a simulator fails.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How a scripted `retry-after` is written (RFC 9110, 10.2.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryAfterForm {
    /// As a number of seconds.
    #[default]
    Seconds,
    /// As the HTTP date that lies so many seconds ahead.
    Date,
}

/// The one form of dates that RFC 9110 allows senders.
const HTTP_DATE: &[time::format_description::BorrowedFormatItem<'_>] = time::macros::format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);

impl RetryAfterForm {
    /// The header's value for a pause that begins now (in seconds since 1970).
    #[must_use]
    pub fn value(self, seconds: u64, now_s: i64) -> String {
        let date = || {
            let then = now_s.checked_add(i64::try_from(seconds).ok()?)?;
            time::OffsetDateTime::from_unix_timestamp(then).ok()?.format(HTTP_DATE).ok()
        };
        match self {
            Self::Seconds => seconds.to_string(),
            // Seconds too, where the calendar ends.
            Self::Date => date().unwrap_or_else(|| seconds.to_string()),
        }
    }
}

/// When to do something other than accept a push. `A` is what a simulator can do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule<A> {
    /// Only pushes to this device token (FCM: token, installation id, `topic:NAME` or `condition:TEXT`); any when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Only pushes of this topic (APNs: `apns-topic`; FCM: the project); any when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// How often the rule is used before it is gone. Default 1.
    #[serde(default = "once")]
    pub times: u64,
    /// The rule stays until the scripts are reset; `times` is ignored.
    #[serde(default)]
    pub always: bool,
    /// Lets this many matching pushes through before each use. Default 0; 99 makes every hundredth fail.
    #[serde(default)]
    pub skip: u64,
    /// Waits so long before the answer.
    #[serde(default)]
    pub delay_ms: u64,
    /// The push reaches the phone although its sender is told otherwise, or nothing.
    #[serde(default)]
    pub delivered: bool,
    /// What happens.
    #[serde(rename = "do")]
    pub action: A,
}

/// What a rule says about one push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit<A> {
    /// How long to wait before the answer.
    pub delay: Duration,
    /// Whether the push is delivered whatever the sender is told.
    pub delivered: bool,
    /// What happens.
    pub action: A,
}

const fn once() -> u64 {
    1
}

impl<A> Rule<A> {
    /// A rule for one use on any push.
    #[must_use]
    pub const fn once(action: A) -> Self {
        Self { token: None, topic: None, times: 1, always: false, skip: 0, delay_ms: 0, delivered: false, action }
    }

    /// The same rule for one token only.
    #[must_use]
    pub fn token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// The same rule, used `times` times.
    #[must_use]
    pub const fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    /// The same rule, used until the scripts are reset.
    #[must_use]
    pub const fn always(mut self) -> Self {
        self.always = true;
        self
    }

    /// The same rule, but the push reaches the phone all the same.
    #[must_use]
    pub const fn delivered(mut self) -> Self {
        self.delivered = true;
        self
    }

    /// The same rule with a delay before the answer.
    #[must_use]
    pub const fn delay_ms(mut self, delay_ms: u64) -> Self {
        self.delay_ms = delay_ms;
        self
    }
}

/// The rules of one simulator, the oldest first.
#[derive(Debug)]
pub struct Script<A> {
    rules: Mutex<Vec<Active<A>>>,
    count: AtomicUsize,
}

#[derive(Debug)]
struct Active<A> {
    rule: Rule<A>,
    used: u64,
    passed: u64,
}

impl<A> Default for Script<A> {
    fn default() -> Self {
        Self { rules: Mutex::new(Vec::new()), count: AtomicUsize::new(0) }
    }
}

impl<A: Clone> Script<A> {
    fn rules(&self) -> MutexGuard<'_, Vec<Active<A>>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a rule behind the ones that are there.
    pub fn add(&self, rule: Rule<A>) {
        let mut rules = self.rules();
        rules.push(Active { rule, used: 0, passed: 0 });
        self.count.store(rules.len(), Ordering::Release);
    }

    /// Forgets every rule.
    pub fn clear(&self) {
        self.rules().clear();
        self.count.store(0, Ordering::Release);
    }

    /// The rules that are still in force.
    #[must_use]
    pub fn active(&self) -> Vec<Rule<A>> {
        self.rules().iter().map(|active| active.rule.clone()).collect()
    }

    /// What to do with a push to `token` of `topic`: the first rule that matches, used once more by this call.
    pub fn next(&self, token: &str, topic: &str) -> Option<Hit<A>> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut rules = self.rules();
        for index in 0..rules.len() {
            let active = &mut rules[index];
            let matches = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
            if !matches(&active.rule.token, token) || !matches(&active.rule.topic, topic) {
                continue;
            }
            if active.passed < active.rule.skip {
                active.passed += 1;
                continue;
            }
            active.passed = 0;
            active.used += 1;
            let found = Hit {
                delay: Duration::from_millis(active.rule.delay_ms),
                delivered: active.rule.delivered,
                action: active.rule.action.clone(),
            };
            if !active.rule.always && active.used >= active.rule.times {
                rules.remove(index);
                self.count.store(rules.len(), Ordering::Release);
            }
            return Some(found);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_used_as_often_as_it_says_and_only_where_it_matches() {
        let script = Script::default();
        script.add(Rule::once("fail").token("aa").times(2));
        script.add(Rule { skip: 1, always: true, ..Rule::once("slow").delay_ms(5) });
        assert_eq!(script.next("bb", "t"), None);
        let slow = Hit { delay: Duration::from_millis(5), delivered: false, action: "slow" };
        assert_eq!(script.next("bb", "t"), Some(slow));
        assert_eq!(script.next("aa", "t").map(|found| found.action), Some("fail"));
        assert_eq!(script.next("aa", "t").map(|found| found.action), Some("fail"));
        assert_eq!(script.next("aa", "t"), None);
        assert_eq!(script.active().len(), 1);
        script.clear();
        assert_eq!(script.next("bb", "t"), None);
    }

    #[test]
    fn a_pause_is_written_in_seconds_or_as_a_date() {
        assert_eq!(RetryAfterForm::Seconds.value(60, 784_111_777), "60");
        assert_eq!(RetryAfterForm::Date.value(60, 784_111_777), "Sun, 06 Nov 1994 08:50:37 GMT");
        assert_eq!(RetryAfterForm::Date.value(u64::MAX, 0), u64::MAX.to_string());
    }

    #[test]
    fn a_misspelt_key_is_refused() {
        let wrong = serde_json::from_str::<Rule<String>>(r#"{"tmes":3,"do":"x"}"#).unwrap_err().to_string();
        assert!(wrong.contains("tmes"), "{wrong}");
    }
}
