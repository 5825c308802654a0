//! `tidings push credentials check`.

use anyhow::bail;
use reqwest::Method;
use serde_json::Value;
use tidings_shared::config::Settings;

use super::arguments::CredentialsCommand;
use crate::commands::say;
use crate::door::{Door, Room, Verdict};
use crate::table::table;

pub(super) async fn run(settings: &Settings, command: &CredentialsCommand) -> anyhow::Result<Verdict> {
    let CredentialsCommand::Check { app, at } = command;
    let door = Door::new(settings, Room::Push, at)?;
    let apps = match app {
        Some(app) => vec![app.clone()],
        None => {
            let listed = door.get(&["apps"], &[]).await?;
            let names = listed["apps"].as_array().into_iter().flatten().filter_map(|app| app["app"].as_str());
            let mut names: Vec<String> = names.map(str::to_owned).collect();
            names.dedup();
            names
        }
    };
    if apps.is_empty() {
        bail!("no app is configured there (push.apps.NAME)");
    }
    let (mut rows, mut refused, mut silent) = (Vec::new(), 0_usize, 0_usize);
    for app in &apps {
        let checks = door.ask(Method::POST, &["apps", app, "check"], &[], None, None).await?;
        for check in checks["checks"].as_array().into_iter().flatten() {
            match check["accepted"].as_bool() {
                Some(true) => {}
                Some(false) => refused += 1,
                // Nobody can be asked about a VAPID key before there is a subscription.
                None if check["provider"] == "webpush" => {}
                None => silent += 1,
            }
            rows.push(row(app, check));
        }
    }
    say(&table(
        &["app", "provider", "environment", "credential", "accepted", "status", "reason", "what it means"],
        &rows,
    ))?;
    if refused == 0 && silent > 0 {
        bail!("{silent} of {} credentials could not be checked: their providers did not answer", rows.len());
    }
    Ok(if refused > 0 { Verdict::Bad } else { Verdict::Good })
}

fn row(app: &str, check: &Value) -> Vec<String> {
    let text = |name: &str| check[name].as_str().unwrap_or("-").to_owned();
    let accepted = match check["accepted"].as_bool() {
        Some(true) => "yes",
        Some(false) => "NO",
        None if check["provider"] == "webpush" => "not asked",
        None => "no answer",
    };
    let status = check["provider_status"].as_u64().map_or_else(|| "-".to_owned(), |status| status.to_string());
    vec![
        app.to_owned(),
        text("provider"),
        text("environment"),
        text("credential"),
        accepted.to_owned(),
        status,
        text("reason"),
        text("message"),
    ]
}
