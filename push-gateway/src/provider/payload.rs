//! What every provider refuses in a push, checked before anything is stored: sizes, reserved names, kinds.

use tidings_shared::push_api::{Provider, Push};

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
    /// More than 4096 bytes.
    #[error(
        "the payload for {provider} has {found} bytes; {MAX_PAYLOAD} are allowed. Send less, and let the app fetch the rest"
    )]
    PayloadTooLarge {
        /// Whose limit.
        provider: Provider,
        /// How large it is.
        found: usize,
    },
    /// A name in `data` that a provider keeps for itself.
    #[error(
        "`data` has the name \"{0}\", which is reserved: `aps`, `from`, `message_type`, and anything that begins with `google.` or `gcm.notification.`"
    )]
    ReservedName(String),
    /// More than 64 bytes, or none.
    #[error("`collapse_id` has {0} bytes; 1 to {MAX_COLLAPSE_ID} are allowed")]
    CollapseId(usize),
    /// Passes are an Apple matter.
    #[error("a push of kind \"pass\" goes to APNs only, not to {0}")]
    Kind(Provider),
}

/// Everything but the size, which each provider checks on what it builds.
pub(crate) fn check(provider: Provider, push: &Push, collapse_id: Option<&str>) -> Result<(), Refusal> {
    if let Some(id) = collapse_id
        && !(1..=MAX_COLLAPSE_ID).contains(&id.len())
    {
        return Err(Refusal::CollapseId(id.len()));
    }
    match push {
        Push::Pass {} if provider != Provider::Apns => Err(Refusal::Kind(provider)),
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

pub(crate) fn check_size(provider: Provider, found: usize) -> Result<(), Refusal> {
    if found > MAX_PAYLOAD { Err(Refusal::PayloadTooLarge { provider, found }) } else { Ok(()) }
}
