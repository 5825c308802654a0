//! `tidings revoke`: ends tokens before they expire.

use serde_json::{Value, json};
use tidings_shared::config::Settings;

use super::admin::Admin;
use super::moment;
use crate::cli::RevokeArgs;
use crate::commands::say;

/// Revokes, takes back or lists.
///
/// # Errors
/// When the broker cannot be reached, or refuses.
pub(crate) async fn revoke(settings: &Settings, args: &RevokeArgs) -> anyhow::Result<()> {
    let admin = Admin::new(settings, args.url.as_deref())?;
    let failed = |error| anyhow::anyhow!("{error}");
    if args.list {
        let found = admin.ask(reqwest::Method::GET, &["revocations"], &[], None).await.map_err(failed)?;
        for revocation in found["revocations"].as_array().into_iter().flatten() {
            say(&format!("{}\n", line(revocation)))?;
        }
        return say(&format!("{} in all\n", found["total"]));
    }
    if let Some(id) = &args.undo {
        admin.ask(reqwest::Method::DELETE, &["revocations", id], &[], None).await.map_err(failed)?;
        return say(&format!("{id} was taken back\n"));
    }
    let mut body = json!({});
    for (name, value) in
        [("jti", &args.jti), ("exp", &args.exp), ("user", &args.user), ("issued_before", &args.issued_before)]
    {
        if let Some(value) = value {
            body[name] = json!(value);
        }
    }
    let made = admin.ask(reqwest::Method::POST, &["revocations"], &[], Some(&body)).await.map_err(failed)?;
    say(&format!("{}; {} connections closed\n", line(&made), made["closed"]))
}

fn line(revocation: &Value) -> String {
    let time = |name: &str| revocation[name].as_i64().map(moment);
    let mut text = revocation["id"].as_str().unwrap_or("?").to_owned();
    if let Some(before) = time("issued_before_ms") {
        text.push_str(&format!(", tokens issued before {before}"));
    }
    match time("until_ms") {
        Some(until) => text.push_str(&format!(", until {until}")),
        None => text.push_str(", until it is taken back"),
    }
    text
}
