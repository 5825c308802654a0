//! What every provider refuses in a push, checked before anything is stored: sizes, reserved names, kinds.

use tidings_shared::push_api::{FcmPush, Provider, Push};

const FCM_FIELDS: &str = "a message has the fields notification, data, android, webpush, apns and fcm_options";

/// The longest payload that APNs and FCM take, in bytes.
pub(crate) const MAX_PAYLOAD: usize = 4096;
/// The longest collapse id that APNs takes, in bytes.
pub(crate) const MAX_COLLAPSE_ID: usize = 64;

/// How a wake push looks on the phone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum WakeStyle {
    /// Nothing is shown; the app runs in the background. Apple may delay or leave out such pushes.
    #[default]
    Silent,
    /// A notification with these fixed words is shown (never a message's content).
    Visible {
        /// First line.
        title: String,
        /// The text.
        body: String,
    },
}

/// A push that its provider would refuse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// More bytes than this provider takes for this kind of push.
    #[error(
        "the payload for {provider} has {found} bytes; {allowed} are allowed. Send less, and let the app fetch the rest"
    )]
    PayloadTooLarge {
        /// Whose limit.
        provider: Provider,
        /// How large it is.
        found: usize,
        /// How large it may be.
        allowed: usize,
    },
    /// A name in `data` that a provider keeps for itself.
    #[error(
        "`data` has the name \"{0}\", which is reserved: `aps`, `from`, `message_type`, and anything that begins with `google.` or `gcm.notification.`"
    )]
    ReservedName(String),
    /// More than 64 bytes, or none.
    #[error("`collapse_id` has {0} bytes; 1 to {MAX_COLLAPSE_ID} are allowed")]
    CollapseId(usize),
    /// A kind that only Apple knows.
    #[error("a push of kind \"{kind}\" goes to one provider only, and not to {provider}")]
    Kind {
        /// Where it was to go.
        provider: Provider,
        /// Its name in JSON.
        kind: &'static str,
    },
    /// A field that breaks a rule of the provider.
    #[error("`{field}` is {found}, but {rule}")]
    Field {
        /// Where, from the request's root.
        field: &'static str,
        /// What stands there.
        found: String,
        /// What may.
        rule: &'static str,
    },
    /// The address of a push service that is not posted to.
    #[error("{0}")]
    Endpoint(super::webpush::EndpointRefusal),
}

impl Refusal {
    pub(super) fn field(field: &'static str, found: impl ToString, rule: &'static str) -> Self {
        Self::Field { field, found: found.to_string(), rule }
    }
}

/// Everything but the size, which each provider checks on what it builds.
pub(crate) fn check(provider: Provider, push: &Push, collapse_id: Option<&str>) -> Result<(), Refusal> {
    if let Some(id) = collapse_id
        && !(1..=MAX_COLLAPSE_ID).contains(&id.len())
    {
        return Err(Refusal::CollapseId(id.len()));
    }
    let for_apple = |kind| match provider {
        Provider::Apns => Ok(()),
        Provider::Fcm | Provider::WebPush => Err(Refusal::Kind { provider, kind }),
    };
    match push {
        Push::Pass {} => for_apple("pass"),
        Push::Apns(_) => for_apple("apns"),
        Push::LiveActivity(_) => for_apple("live_activity"),
        Push::Fcm(_) if provider != Provider::Fcm => Err(Refusal::Kind { provider, kind: "fcm" }),
        Push::Fcm(push) => match push.message.keys().find(|name| !FcmPush::FIELDS.contains(&name.as_str())) {
            Some(name) => Err(Refusal::field("push.message", name, FCM_FIELDS)),
            None => Ok(()),
        },
        Push::Alert { data, .. } => match data.keys().find(|name| reserved(name)) {
            Some(name) => Err(Refusal::ReservedName(name.clone())),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

fn reserved(name: &str) -> bool {
    matches!(name, "aps" | "from" | "message_type")
        || name.starts_with("google.")
        || name.starts_with("gcm.notification.")
}

pub(crate) fn check_size(provider: Provider, found: usize, allowed: usize) -> Result<(), Refusal> {
    if found > allowed { Err(Refusal::PayloadTooLarge { provider, found, allowed }) } else { Ok(()) }
}
