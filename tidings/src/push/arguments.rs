//! What can be typed after `tidings push`.

use clap::{Args, Subcommand, ValueEnum};

use crate::door::Where;

/// What the push-gateway is asked.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum PushCommand {
    /// Send a notification. Ends with 0 when it is stored (with --wait: accepted everywhere), with 1 when a push was not accepted,
    /// with 2 when it was refused or nobody answered.
    Send(Box<SendArgs>),
    /// Show where a notification is, and what happened to it.
    Status(StatusArgs),
    /// List the devices of a user.
    Devices(DevicesArgs),
    /// The credentials of the configured apps.
    #[command(subcommand)]
    Credentials(CredentialsCommand),
    /// Print the OpenAPI document of the push-gateway.
    Openapi,
}

/// A notification. One addressee and one content are named, or --request has both.
#[derive(Clone, Debug, Args)]
pub(crate) struct SendArgs {
    /// Every device of this user.
    #[arg(long, conflicts_with_all = ["id", "segment", "token", "filter"])]
    pub(crate) user: Option<String>,
    /// This device of the user, by the name that it registered with.
    #[arg(long, requires = "user")]
    pub(crate) device: Option<String>,
    /// The registration with this id.
    #[arg(long, conflicts_with_all = ["segment", "token", "filter"])]
    pub(crate) id: Option<String>,
    /// The devices of this segment.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["token", "filter"])]
    pub(crate) segment: Option<String>,
    /// The devices that this expression finds (JSON), for example '{"tag":"beta"}'.
    #[arg(long = "where", value_name = "JSON", conflicts_with = "token")]
    pub(crate) filter: Option<String>,
    /// A push token, for example apns:00112233… or fcm:dGVz….
    #[arg(long, value_name = "PROVIDER:TOKEN")]
    pub(crate) token: Option<String>,
    /// With --token: the app (push.apps.NAME).
    #[arg(long, requires = "token", default_value = "default")]
    pub(crate) app: String,
    /// With --token: it is of Apple's sandbox.
    #[arg(long, requires = "token")]
    pub(crate) sandbox: bool,

    /// First line of a visible notification.
    #[arg(long, conflicts_with_all = ["wake", "template"])]
    pub(crate) title: Option<String>,
    /// Its text.
    #[arg(long, requires = "title")]
    pub(crate) body: Option<String>,
    /// An entry of its data, for the app (may be repeated).
    #[arg(long, value_name = "NAME=VALUE", requires = "title")]
    pub(crate) entry: Vec<String>,
    /// Show nothing: wake the app.
    #[arg(long, conflicts_with = "template")]
    pub(crate) wake: bool,
    /// The texts of this template.
    #[arg(long, value_name = "NAME")]
    pub(crate) template: Option<String>,
    /// What the template wants to be told (may be repeated); numbers are told as numbers.
    #[arg(long, value_name = "NAME=VALUE", requires = "template")]
    pub(crate) param: Vec<String>,

    /// The whole request as JSON; `-` reads standard input.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["user", "id", "segment", "filter", "token", "title", "wake", "template"])]
    pub(crate) request: Option<String>,

    /// How long it is worth delivering: 90s, 1h, 2d.
    #[arg(long)]
    pub(crate) ttl: Option<String>,
    /// What goes first when much is waiting.
    #[arg(long, value_enum)]
    pub(crate) priority: Option<Priority>,
    /// A later push with the same id takes the place of this one.
    #[arg(long, value_name = "ID")]
    pub(crate) collapse_id: Option<String>,
    /// The same key again sends nothing more.
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
    /// The app can report what becomes of it.
    #[arg(long)]
    pub(crate) receipts: bool,
    /// Wait until every push has ended, for two minutes at most.
    #[arg(long)]
    pub(crate) wait: bool,
    #[command(flatten)]
    pub(crate) at: Where,
}

/// The classes of priority.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Priority {
    High,
    Normal,
    Bulk,
}

impl Priority {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Bulk => "bulk",
        }
    }
}

/// Which notification.
#[derive(Clone, Debug, Args)]
pub(crate) struct StatusArgs {
    /// The notification's id.
    pub(crate) id: String,
    /// Also what happened, step by step.
    #[arg(long)]
    pub(crate) timeline: bool,
    /// Print the gateway's JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) at: Where,
}

/// Whose devices.
#[derive(Clone, Debug, Args)]
pub(crate) struct DevicesArgs {
    /// The user id.
    pub(crate) user: String,
    /// Print the gateway's JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) at: Where,
}

/// What is done with credentials.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum CredentialsCommand {
    /// Ask the providers whether they accept them. Ends with 1 when one is refused, with 2 when there was no answer.
    Check {
        /// This app only (push.apps.NAME).
        app: Option<String>,
        #[command(flatten)]
        at: Where,
    },
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::Cli;

    #[test]
    fn a_notification_names_one_addressee_and_one_content() {
        let reads =
            |arguments: &[&str]| Cli::try_parse_from([&["tidings", "push", "send"], arguments].concat()).is_ok();
        for good in [
            &["--user", "42", "--title", "Hello", "--body", "there", "--entry", "a=1"][..],
            &["--user", "42", "--device", "phone", "--wake", "--wait"],
            &["--token", "apns:aabb", "--app", "pass", "--sandbox", "--wake"],
            &["--segment", "beta", "--template", "news", "--param", "n=1", "--priority", "bulk"],
            &["--request", "-", "--url", "http://gateway"],
        ] {
            assert!(reads(good), "{good:?}");
        }
        for bad in [
            &["--user", "42", "--segment", "beta", "--wake"][..],
            &["--device", "phone", "--wake"],
            &["--user", "42", "--title", "a", "--wake"],
            &["--user", "42", "--body", "without a title"],
            &["--request", "-", "--user", "42"],
        ] {
            assert!(!reads(bad), "{bad:?}");
        }
    }
}
