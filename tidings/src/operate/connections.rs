//! `tidings connections`: who is connected, and out with them.

use tidings_shared::config::Settings;

use super::admin::Admin;
use crate::cli::ConnectionsArgs;
use crate::commands::say;

/// Lists connections, or closes them.
///
/// # Errors
/// When the broker cannot be reached, or refuses.
pub(crate) async fn connections(settings: &Settings, args: &ConnectionsArgs) -> anyhow::Result<()> {
    let admin = Admin::new(settings, args.url.as_deref())?;
    let failed = |error| anyhow::anyhow!("{error}");
    let mut query = Vec::new();
    if let Some(user) = &args.user {
        query.push(("user", user.as_str()));
    }
    if args.handlers {
        query.push(("handlers", "true"));
    }
    if args.close {
        let closed = admin.ask(reqwest::Method::DELETE, &["connections"], &query, None).await.map_err(failed)?;
        return say(&format!("{} connections closed\n", closed["closed"]));
    }
    let found = admin.ask(reqwest::Method::GET, &["connections"], &query, None).await.map_err(failed)?;
    let connections = found["connections"].as_array().cloned().unwrap_or_default();
    for connection in &connections {
        let filters = connection["subscriptions"].as_array().into_iter().flatten();
        let filters: Vec<&str> = filters.filter_map(|subscription| subscription["filter"].as_str()).collect();
        let text = |name: &str| connection[name].as_str().unwrap_or("-").escape_debug().to_string();
        let user = if connection["user"].is_null() { "handler".to_owned() } else { text("user") };
        let (id, client, mqtt, jti) = (&connection["id"], text("client"), text("mqtt"), text("jti"));
        say(&format!("{id}  {user}  {client}  MQTT {mqtt}  jti {jti}  {}\n", filters.join(" ")))?;
    }
    say(&format!("{} connections\n", connections.len()))
}
