//! `tidings push send`.

use std::io::Read;
use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::Method;
use serde_json::{Map, Value, json};
use tidings_shared::config::Settings;

use super::arguments::SendArgs;
use super::status;
use crate::commands::say;
use crate::door::{Door, Room, Verdict};

/// The largest request on standard input.
const MOST: u64 = 1 << 20;
/// How long `--wait` waits, and how often it looks.
const WAIT: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(500);

pub(super) async fn run(settings: &Settings, args: &SendArgs) -> anyhow::Result<Verdict> {
    let body = request(args)?;
    let door = Door::new(settings, Room::Push, &args.at)?;
    let sent = door.ask(Method::POST, &["notifications"], &[], Some(&body), args.idempotency_key.as_deref()).await?;
    let id = sent["id"].as_str().context("the push-gateway's answer names no notification")?;
    if !args.wait {
        say(&format!("{id}\n"))?;
        if sent["expansion"].is_null() && sent["targets"].as_array().is_some_and(Vec::is_empty) {
            say("it goes to nobody: no device is registered there\n")?;
        }
        return Ok(Verdict::Good);
    }
    let until = tokio::time::Instant::now() + WAIT;
    loop {
        let shown = door.get(&["notifications", id], &[]).await?;
        if status::has_ended(&shown) {
            return status::print(&shown);
        }
        if tokio::time::Instant::now() >= until {
            status::print(&shown)?;
            bail!("it has not ended within {WAIT:?}; `tidings push status {id}` shows how it goes on");
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The request of the arguments.
fn request(args: &SendArgs) -> anyhow::Result<Value> {
    if let Some(file) = &args.request {
        let text = match file.as_str() {
            "-" => {
                let mut text = String::new();
                std::io::stdin().take(MOST).read_to_string(&mut text).context("standard input cannot be read")?;
                text
            }
            file => std::fs::read_to_string(file).with_context(|| format!("{file} cannot be read"))?,
        };
        return serde_json::from_str(&text).with_context(|| format!("{file} is no JSON"));
    }
    let mut body = json!({ "to": to(args)? });
    if let Some(title) = &args.title {
        let mut push = json!({ "kind": "alert", "title": title });
        if let Some(text) = &args.body {
            push["body"] = json!(text);
        }
        if !args.entry.is_empty() {
            push["data"] = Value::Object(pairs("--entry", &args.entry, Value::from)?);
        }
        body["push"] = push;
    } else if args.wake {
        body["push"] = json!({ "kind": "wake" });
    } else if let Some(template) = &args.template {
        body["template"] = json!(template);
        body["params"] = Value::Object(pairs("--param", &args.param, number_or_text)?);
    } else {
        bail!("what is to be sent? --title, --wake, --template or --request says it");
    }
    for (name, value) in [
        ("ttl", args.ttl.as_deref()),
        ("priority", args.priority.map(super::arguments::Priority::as_str)),
        ("collapse_id", args.collapse_id.as_deref()),
    ] {
        if let Some(value) = value {
            body[name] = json!(value);
        }
    }
    if args.receipts {
        body["receipts"] = json!(true);
    }
    Ok(body)
}

fn to(args: &SendArgs) -> anyhow::Result<Value> {
    if let Some(user) = &args.user {
        return Ok(match &args.device {
            Some(device) => json!({ "user": user, "device": device }),
            None => json!({ "user": user }),
        });
    }
    if let Some(id) = &args.id {
        return Ok(json!({ "device": id }));
    }
    if let Some(segment) = &args.segment {
        return Ok(json!({ "segment": segment }));
    }
    if let Some(filter) = &args.filter {
        let filter: Value = serde_json::from_str(filter).context("--where is no JSON")?;
        return Ok(json!({ "segment": { "where": filter } }));
    }
    let Some(token) = &args.token else {
        bail!("who is it for? --user, --id, --segment, --where, --token or --request says it");
    };
    let (provider, token) = token.split_once(':').context("--token is PROVIDER:TOKEN, for example apns:00112233…")?;
    let environment = if args.sandbox { "sandbox" } else { "production" };
    let token = json!({ "provider": provider, "app": args.app, "token": token, "environment": environment });
    Ok(json!({ "token": token }))
}

fn pairs(option: &str, pairs: &[String], value: impl Fn(String) -> Value) -> anyhow::Result<Map<String, Value>> {
    let pair = |pair: &String| {
        let (name, text) = pair.split_once('=').with_context(|| format!("{option} is NAME=VALUE; found \"{pair}\""))?;
        Ok((name.to_owned(), value(text.to_owned())))
    };
    pairs.iter().map(pair).collect()
}

fn number_or_text(text: String) -> Value {
    match serde_json::from_str(&text) {
        Ok(Value::Number(number)) => Value::Number(number),
        _ => Value::String(text),
    }
}
