//! Who a notification goes to: its targets, each checked against what its provider takes, each with its time.

use std::collections::{HashMap, HashSet};

use http::StatusCode;
use jiff::tz::TimeZone;
use sqlx::AnyConnection;
use tidings_shared::http::ApiError;
use tidings_shared::identity::UserId;
use tidings_shared::push_api::{
    LONGEST_WAIT_MS, LocalTime, NotBefore, SendNotification, To, TokenTarget, Ttl, time_zone,
};

use super::content::Content;
use super::{Gateway, direct, refusal};
use crate::devices::{self, Registered};
use crate::queue::{Address, NewTarget, store};

/// A day on which the clock is put back.
const DAY_AND_HOUR_MS: i64 = 25 * 3_600_000;

/// The devices of users that were asked for together: the items of a batch.
pub(super) type Known = HashMap<UserId, Vec<Registered>>;

/// Looks up the users of several requests at once. (One by itself is looked up when it comes to it.)
pub(super) async fn look_up(
    connection: &mut AnyConnection,
    requests: impl Iterator<Item = &SendNotification>,
) -> Result<Known, ApiError> {
    let users: HashSet<&UserId> = requests
        .filter_map(|request| match &request.to {
            To::User(user) => Some(user),
            _ => None,
        })
        .collect();
    if users.len() < 2 {
        return Ok(Known::new());
    }
    let users: Vec<&UserId> = users.into_iter().collect();
    let mut known = devices::store::of_users(connection, &users).await.map_err(refusal::storage)?;
    for user in users {
        known.entry(user.clone()).or_default();
    }
    Ok(known)
}

/// The addressees, each checked against what its provider takes.
pub(super) async fn targets(
    gateway: &Gateway,
    connection: Option<&mut AnyConnection>,
    known: &Known,
    request: &SendNotification,
    content: &Content,
) -> Result<Vec<NewTarget>, ApiError> {
    let of_device = |device: &Registered| NewTarget::of_device(gateway.ids.next(), device);
    let targets: Vec<NewTarget> = match (&request.to, connection) {
        (To::User(user), Some(connection)) => {
            let found = match known.get(user) {
                Some(_) => Vec::new(),
                None => devices::store::of_user(connection, user).await.map_err(refusal::storage)?,
            };
            let devices = known.get(user).unwrap_or(&found);
            // A device whose app is no longer configured is not a fault of this request.
            let reachable = devices
                .iter()
                .filter(|device| gateway.apps.lane(device.registration.provider, &device.registration.app).is_some());
            reachable.map(of_device).collect()
        }
        (To::Registration(id), Some(connection)) => {
            let device = devices::store::by_id(connection, id).await.map_err(refusal::storage)?;
            vec![of_device(&device.ok_or_else(refusal::device_unknown)?)]
        }
        (To::Device { user, device }, Some(connection)) => {
            let device = devices::store::find_in(connection, user, device).await.map_err(refusal::storage)?;
            vec![of_device(&device.ok_or_else(refusal::device_unknown)?)]
        }
        (other, _) => match direct::read(other)? {
            Some(to) => {
                let target = TokenTarget {
                    provider: to.provider,
                    app: to.app,
                    token: to.token,
                    environment: to.environment,
                    registered_at_ms: to.registered_at_ms,
                };
                vec![NewTarget::of_token(gateway.ids.next(), &target)]
            }
            // The targets of a segment are made later. And not without a connection: see `known_by_heart`.
            None => return Err(ApiError::internal()),
        },
    };
    for target in &targets {
        let Some(lane) = gateway.apps.lane(target.provider, &target.app) else {
            return Err(refusal::app(&gateway.apps, target.provider, &target.app));
        };
        if !lane.client.serves(target.environment) {
            return Err(refusal::environment(&target.app));
        }
        for push in content.pushes() {
            lane.client.check(push, request.collapse_id.as_deref()).map_err(|refusal| refusal::push(&refusal))?;
            if let Address::Token { token, .. } = &target.to {
                lane.client.check_recipient(token, push).map_err(|refusal| refusal::push(&refusal))?;
            }
        }
    }
    Ok(targets)
}

/// Whether the targets can be found without asking the database.
pub(super) fn known_by_heart(request: &SendNotification) -> bool {
    let registered = matches!(request.to, To::User(_) | To::Registration(_) | To::Device { .. } | To::Segment(_));
    !registered && request.template.is_none()
}

/// Gives the targets what the request says of their time, of what they replace and of what they must not repeat.
pub(crate) async fn prepare(
    gateway: &Gateway,
    connection: Option<&mut AnyConnection>,
    request: &SendNotification,
    targets: &mut [NewTarget],
    now_ms: i64,
) -> Result<(), ApiError> {
    if let Some(dedup) = &request.dedup
        && !(1..=255).contains(&dedup.key.len())
    {
        let message = format!("`dedup.key` has 1 to 255 bytes; this one has {}", dedup.key.len());
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "dedup_key_invalid", message));
    }
    for target in &mut *targets {
        target.collapse_key = request.collapse_id.as_deref().map(|id| target.key(&format!("collapse {id}")));
        target.dedup_key = request.dedup.as_ref().map(|dedup| target.key(&format!("dedup {}", dedup.key)));
    }
    let ttl = request.ttl.unwrap_or(Ttl::new(gateway.ttl));
    match &request.not_before {
        None => {}
        Some(NotBefore::At(at)) => {
            if *at > now_ms.saturating_add(LONGEST_WAIT_MS) {
                return Err(too_far());
            }
            for target in targets {
                begin(target, *at, ttl, now_ms);
            }
        }
        Some(NotBefore::Local(local)) => {
            let zones = zones(connection, targets).await?;
            let fallback = local.zone().map_or_else(|| Ok(gateway.time_zone.clone()), time_zone);
            let fallback =
                fallback.map_err(|message| ApiError::new(StatusCode::BAD_REQUEST, "body_invalid", message))?;
            let mut moments = Moments { local, fallback, now_ms, known: HashMap::new() };
            for target in targets {
                let zone = match &target.to {
                    Address::Device { id, .. } => zones.get(id).map(String::as_str),
                    Address::Token { .. } => None,
                };
                let moment = moments.of(zone);
                if moment > now_ms.saturating_add(LONGEST_WAIT_MS) {
                    return Err(too_far());
                }
                begin(target, moment, ttl, now_ms);
            }
        }
    }
    Ok(())
}

async fn zones(
    connection: Option<&mut AnyConnection>,
    targets: &[NewTarget],
) -> Result<HashMap<String, String>, ApiError> {
    let devices: Vec<&str> = targets
        .iter()
        .filter_map(|target| match &target.to {
            Address::Device { id, .. } => Some(id.as_str()),
            Address::Token { .. } => None,
        })
        .collect();
    match connection {
        Some(connection) => store::time_zones(connection, &devices).await.map_err(refusal::storage),
        None => Ok(HashMap::new()),
    }
}

/// A local time in the zones that were asked for.
struct Moments<'a> {
    local: &'a LocalTime,
    fallback: TimeZone,
    now_ms: i64,
    known: HashMap<Option<&'a str>, i64>,
}

impl<'a> Moments<'a> {
    fn of(&mut self, zone: Option<&'a str>) -> i64 {
        if let Some(moment) = self.known.get(&zone) {
            return *moment;
        }
        // A name that was one when the device told it, and is none any more, is as good as none.
        let known = zone.and_then(|name| time_zone(name).ok());
        let moment = self.local.moment(known.as_ref().unwrap_or(&self.fallback), self.now_ms);
        self.known.insert(zone, moment);
        moment
    }
}

/// When the last device of a segment has had its time, wherever it is; `None`: the time to live begins now.
pub(super) fn latest_end(gateway: &Gateway, request: &SendNotification, now_ms: i64) -> Result<Option<i64>, ApiError> {
    let ttl = request.ttl.unwrap_or(Ttl::new(gateway.ttl));
    let Some(not_before) = &request.not_before else { return Ok(None) };
    let begins = match not_before {
        NotBefore::At(at) => (*at).max(now_ms),
        // The next time that a clock shows something is within a day; a date ends last in the far west.
        NotBefore::Local(local) => {
            let west = time_zone("Etc/GMT+12").map_or(now_ms, |zone| local.moment(&zone, now_ms));
            west.max(now_ms.saturating_add(DAY_AND_HOUR_MS))
        }
    };
    if begins > now_ms.saturating_add(LONGEST_WAIT_MS) {
        return Err(too_far());
    }
    Ok(Some(expiry(ttl, begins)))
}

/// The target's time begins then; a time that has passed is now.
fn begin(target: &mut NewTarget, at: i64, ttl: Ttl, now_ms: i64) {
    if at > now_ms {
        target.due_at = Some(at);
        target.expires_at = Some(expiry(ttl, at));
    }
}

/// When the time to live ends; 0 stands for one attempt only.
pub(super) fn expiry(ttl: Ttl, from_ms: i64) -> i64 {
    match ttl.as_ms() {
        0 => 0,
        ttl => from_ms.saturating_add(ttl),
    }
}

fn too_far() -> ApiError {
    let message = "`not_before` lies more than 366 days ahead; send it again when it is nearer";
    ApiError::new(StatusCode::BAD_REQUEST, "not_before_too_far", message)
}
