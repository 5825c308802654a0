//! What somebody asks of a campaign, and how it is shown.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::governor::Limits;
use crate::store::PassQuery;

/// A campaign to be started.
#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateCampaign {
    /// For people, 1 to 200 characters.
    pub name: String,
    /// Which passes; every device that has one of them and has not asked for its newest version is pushed once.
    #[serde(default)]
    pub query: PassQuery,
    /// How fast.
    #[serde(default)]
    pub rate: Rate,
    /// Further sweeps to those that have not asked since.
    #[serde(default)]
    pub repeat: Option<Repeat>,
}

/// How fast a campaign may push, and what it must leave the devices' own requests.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Rate {
    /// Pushes a second that it begins with and never goes below.
    pub floor: u32,
    /// Pushes a second that it never goes above.
    pub ceiling: u32,
    /// The 99th percentile of the list, in ms, above which the rate is halved.
    pub list_ms: u32,
    /// The same for getting a pass.
    pub get_ms: u32,
    /// Of a thousand answers to devices, the errors (5xx) above which the rate is halved.
    pub errors_per_mille: u32,
}

impl Default for Rate {
    fn default() -> Self {
        Self { floor: 10, ceiling: 2_000, list_ms: 250, get_ms: 1_000, errors_per_mille: 10 }
    }
}

/// The fastest that a campaign may be told to be.
const FASTEST: u32 = 100_000;

impl Rate {
    /// For the governor.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            floor: f64::from(self.floor),
            ceiling: f64::from(self.ceiling),
            list_ms: f64::from(self.list_ms),
            get_ms: f64::from(self.get_ms),
            errors_per_mille: f64::from(self.errors_per_mille),
        }
    }
}

/// When a campaign sweeps again by itself.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Repeat {
    /// This long after a sweep has ended, in seconds: a phone may be off for days.
    pub every_seconds: u32,
    /// Most sweeps, the first one included.
    pub at_most: u32,
    /// None when this many of a hundred devices have asked.
    #[serde(default = "enough")]
    pub coverage: u32,
}

fn enough() -> u32 {
    100
}

/// What of a campaign stays as it was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// How fast.
    pub rate: Rate,
    /// Further sweeps.
    pub repeat: Option<Repeat>,
}

impl CreateCampaign {
    /// Says what is wrong with what somebody asked for.
    ///
    /// # Errors
    /// The key, what was found and what is allowed.
    pub fn check(&self) -> Result<(), String> {
        let length = self.name.chars().count();
        if !(1..=200).contains(&length) || self.name.chars().any(char::is_control) {
            return Err(format!("name: found {length} characters; give 1 to 200, none of them a control character"));
        }
        self.query.check().map_err(|fault| format!("query.{fault}"))?;
        let rate = &self.rate;
        if !(1..=FASTEST).contains(&rate.floor) || !(rate.floor..=FASTEST).contains(&rate.ceiling) {
            return Err(format!(
                "rate: found floor {} and ceiling {}; pushes a second are 1 to {FASTEST}, the floor no higher than the ceiling",
                rate.floor, rate.ceiling
            ));
        }
        for (name, value) in [("listMs", rate.list_ms), ("getMs", rate.get_ms)] {
            if value == 0 {
                return Err(format!("rate.{name}: found 0; give the milliseconds that are still good, 1 or more"));
            }
        }
        if let Some(repeat) = &self.repeat {
            if repeat.every_seconds < 60 {
                return Err(format!("repeat.everySeconds: found {}; 60 or more", repeat.every_seconds));
            }
            if !(2..=100).contains(&repeat.at_most) || !(1..=100).contains(&repeat.coverage) {
                return Err(format!(
                    "repeat: found atMost {} and coverage {}; sweeps are 2 to 100, the first one included, and coverage is 1 to 100 (per cent)",
                    repeat.at_most, repeat.coverage
                ));
            }
        }
        Ok(())
    }

    /// What is kept of it besides name and query.
    #[must_use]
    pub fn plan(&self) -> Plan {
        Plan { rate: self.rate, repeat: self.repeat }
    }
}

/// Where a campaign is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It pushes, or waits for the one before it.
    Running,
    /// Somebody paused it.
    Paused,
    /// Its next sweep is to come.
    Waiting,
    /// All of its sweeps are over.
    Done,
    /// Somebody ended it.
    Cancelled,
}

impl State {
    const ALL: [Self; 5] = [Self::Running, Self::Paused, Self::Waiting, Self::Done, Self::Cancelled];

    /// The name in the database and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Waiting => "waiting",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state with that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// A campaign. Times are ms since 1970.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Campaign {
    /// Names it.
    pub id: String,
    /// For people.
    pub name: String,
    /// Which passes.
    pub query: PassQuery,
    /// Where it is.
    pub state: State,
    /// As it was asked for.
    pub plan: Plan,
    /// When it began.
    pub created_at: i64,
    /// When something last happened to it.
    pub updated_at: i64,
    /// When its last sweep ended.
    pub finished_at: Option<i64>,
    /// Which sweep this is, from 1.
    pub sweep: i64,
    /// When this sweep began.
    pub sweep_at: i64,
    /// When the next one begins, while it waits for that.
    pub next_at: Option<i64>,
    /// Registrations at the beginning of this sweep; null until they are counted.
    pub total: Option<i64>,
    /// Registrations that this sweep has looked at.
    pub looked_at: i64,
    /// What became of them, in all sweeps.
    pub counts: Counts,
    /// Pushes a second at this moment.
    pub rate: f64,
    /// Why the rate was last reduced.
    pub rate_reason: String,
    /// What keeps it from going on, if something does.
    pub last_error: Option<String>,
    /// Who had asked when that was last counted.
    pub coverage: Option<Coverage>,
    /// The last registration that was looked at.
    #[serde(skip)]
    pub after: Position,
}

/// What became of registrations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Devices that were pushed.
    pub pushed: i64,
    /// The device has asked since the pass last changed: a push would be one about nothing.
    pub current: i64,
    /// The device was pushed a moment ago, or is about to be for a change.
    pub recent: i64,
    /// In quarantine, or the push token cannot be one.
    pub unpushable: i64,
    /// The push-gateway refused for good.
    pub refused: i64,
}

impl Counts {
    /// Adds others.
    pub fn add(&mut self, other: &Self) {
        self.pushed += other.pushed;
        self.current += other.current;
        self.recent += other.recent;
        self.unpushable += other.unpushable;
        self.refused += other.refused;
    }
}

/// A place in the walk over all registrations; the default is before the first.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Pass type identifier.
    pub pass_type: String,
    /// Serial number.
    pub serial: String,
    /// Device library identifier.
    pub device: String,
}

/// Who has asked since a campaign began. Devices are counted once for each pass type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Coverage {
    /// Devices with passes of the query.
    pub devices: i64,
    /// Those that have asked since the campaign began.
    pub asked: i64,
    /// Others that have the newest of everything.
    pub current: i64,
    /// The rest.
    pub uncovered: i64,
    /// Those of the rest that cannot be pushed: in quarantine, or no iPhones.
    pub quarantined: i64,
    /// When this was counted (ms since 1970).
    pub counted_at: i64,
}

impl Coverage {
    /// Of a hundred devices, how many are covered; 100 when there are none.
    #[must_use]
    pub fn percent(&self) -> f64 {
        if self.devices == 0 {
            return 100.0;
        }
        // Far below the numbers that a float cannot hold.
        (self.asked + self.current) as f64 * 100.0 / self.devices as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_cannot_be_is_refused_with_the_key_the_value_and_what_is_allowed() {
        for (body, word) in [
            (json!({"name": ""}), "name"),
            (json!({"name": "x", "rate": {"floor": 0}}), "floor 0"),
            (json!({"name": "x", "rate": {"floor": 20, "ceiling": 10}}), "ceiling 10"),
            (json!({"name": "x", "rate": {"listMs": 0}}), "rate.listMs"),
            (json!({"name": "x", "repeat": {"everySeconds": 5, "atMost": 3}}), "repeat.everySeconds: found 5"),
            (json!({"name": "x", "repeat": {"everySeconds": 3600, "atMost": 1}}), "atMost 1"),
            (json!({"name": "x", "repeat": {"everySeconds": 3600, "atMost": 3, "coverage": 101}}), "coverage 101"),
        ] {
            let asked: CreateCampaign = serde_json::from_value(body).unwrap();
            let fault = asked.check().unwrap_err();
            assert!(fault.contains(word), "{fault}");
        }
        let misspelt = serde_json::from_value::<CreateCampaign>(json!({"name": "x", "querry": {}})).unwrap_err();
        assert!(misspelt.to_string().contains("querry"));
        let good = json!({"name": "Move", "query": {"template": "card"}, "repeat": {"everySeconds": 86400, "atMost": 3, "coverage": 95}});
        serde_json::from_value::<CreateCampaign>(good).unwrap().check().unwrap();
    }

    #[test]
    fn states_have_one_name() {
        for state in State::ALL {
            assert_eq!(State::from_name(state.as_str()), Some(state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
    }
}
