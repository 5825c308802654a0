//! How fast a campaign pushes: a number that grows by steps while this service answers well, and is halved when it does
//! not. A pure state machine: measurements go in, a rate comes out.

/// What a campaign may do to the service.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Never slower, pushes a second.
    pub floor: f64,
    /// Never faster, pushes a second.
    pub ceiling: f64,
    /// The list is slow from here: the 99th percentile, ms.
    pub list_ms: f64,
    /// The same for getting a pass, which has to be signed.
    pub get_ms: f64,
    /// Of a thousand answers, this many may be errors (5xx).
    pub errors_per_mille: f64,
}

/// How the service answered lately, in all its processes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Feedback {
    /// Lists answered.
    pub lists: u64,
    /// Their 99th percentile, ms.
    pub list_ms: f64,
    /// Passes answered (304 too).
    pub gets: u64,
    /// Their 99th percentile, ms.
    pub get_ms: f64,
    /// Answers with 5xx among both.
    pub errors: u64,
    /// The push-gateway asked to wait.
    pub held_back: bool,
    /// What was pushed meanwhile.
    pub pushed: u64,
}

/// What was decided, and why.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Faster than before.
    Raised,
    /// As before: at the ceiling, or the last reduction has yet to show.
    Held,
    /// Slower than before, or at the floor already.
    Lowered(String),
}

/// A percentile of fewer answers than this says nothing.
const FEWEST: u64 = 20;
/// Fewer errors than this are an accident.
const FEWEST_ERRORS: u64 = 3;
/// From the floor to the ceiling in this many steps.
const STEPS: f64 = 40.0;
/// What was pushed before a reduction still comes in: this many steps are waited before the rate moves again.
const PATIENCE: u32 = 3;

/// After this many pushes somebody must have asked: who is sent elsewhere does not come here, however well this service answers.
const UNHEARD: u64 = 500;

/// The rate of one campaign.
#[derive(Clone, Debug)]
pub struct Governor {
    limits: Limits,
    rate: f64,
    patience: u32,
    /// Pushes since anybody asked.
    unheard: u64,
}

impl Governor {
    /// Begins at `rate`, or at the floor.
    #[must_use]
    pub fn new(limits: Limits, rate: f64) -> Self {
        let ceiling = limits.ceiling.max(limits.floor);
        let limits = Limits { ceiling, ..limits };
        Self { limits, rate: rate.clamp(limits.floor, ceiling), patience: 0, unheard: 0 }
    }

    /// Pushes a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// Takes a measurement and moves the rate.
    pub fn step(&mut self, feedback: &Feedback) -> Step {
        let silent = self.unheard >= UNHEARD;
        self.unheard = if feedback.lists == 0 { self.unheard.saturating_add(feedback.pushed) } else { 0 };
        if self.unheard >= UNHEARD {
            self.rate = self.limits.floor;
            if silent {
                return Step::Held;
            }
            let why = "nobody who was pushed asks here: does the webServiceURL of their passes lead here?";
            return Step::Lowered(why.to_owned());
        }
        if let Some(trouble) = self.trouble(feedback) {
            // While the last reduction has yet to show, more of the same trouble is no news.
            if self.patience == 0 {
                self.rate = (self.rate / 2.0).max(self.limits.floor);
                self.patience = PATIENCE;
                return Step::Lowered(trouble);
            }
            self.patience -= 1;
            return Step::Held;
        }
        if self.patience > 0 {
            self.patience -= 1;
            return Step::Held;
        }
        if self.rate >= self.limits.ceiling {
            return Step::Held;
        }
        let step = ((self.limits.ceiling - self.limits.floor) / STEPS).max(self.limits.floor / 10.0);
        self.rate = (self.rate + step).min(self.limits.ceiling);
        Step::Raised
    }

    /// What is wrong, if something is.
    fn trouble(&self, feedback: &Feedback) -> Option<String> {
        let answers = feedback.lists + feedback.gets;
        let errors = feedback.errors.min(answers);
        if errors >= FEWEST_ERRORS && (errors * 1000) as f64 > self.limits.errors_per_mille * answers as f64 {
            return Some(format!("{errors} of {answers} answers to devices were errors"));
        }
        for (what, answers, found, allowed) in [
            ("the list", feedback.lists, feedback.list_ms, self.limits.list_ms),
            ("getting a pass", feedback.gets, feedback.get_ms, self.limits.get_ms),
        ] {
            if answers >= FEWEST && found > allowed {
                return Some(format!("{what} takes {found:.0} ms (99th percentile); {allowed:.0} are allowed"));
            }
        }
        feedback.held_back.then(|| "the push-gateway asked to wait".to_owned())
    }
}

/// Spreads pushes over time: what the rate allows gathers, one second of it at most.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    saved: f64,
}

impl Pace {
    /// Some time has passed.
    pub fn gather(&mut self, seconds: f64, rate: f64) {
        self.saved = (self.saved + seconds.max(0.0) * rate).min(rate.max(1.0));
    }

    /// Takes what `count` pushes cost, as a debt where there is not enough; the answer is how long to wait until it is
    /// paid, in seconds.
    pub fn take(&mut self, count: usize, rate: f64) -> f64 {
        self.saved -= count as f64;
        if self.saved < 0.0 { -self.saved / rate.max(0.001) } else { 0.0 }
    }
}

#[cfg(test)]
mod tests;
