//! `tidings explain TOKEN publish|subscribe TOPIC`.

use std::fmt::Write as _;
use std::io::{Read, Write as _};

use anyhow::Context;
use serde_json::json;
use tidings_broker::explain::{Action, Bearer, Configured, Explanation};
use tidings_shared::auth::{Verifier, VerifierConfig, inspect};
use tidings_shared::clock::Clock;
use tidings_shared::config::Settings;

use super::admin::{Admin, NoAnswer};
use super::moment;
use crate::cli::ExplainArgs;
use crate::commands::say;
use crate::up::development;
use crate::up::wiring::has_own_issuer;

/// Instead of a token: a handler with its key.
const HANDLER: &str = "handler";
/// The longest text on standard input.
const MOST: u64 = 1 << 20;

/// Prints who may do what and by which rule; whether it is allowed.
///
/// # Errors
/// When the configuration cannot be used.
pub(crate) async fn explain(settings: &Settings, args: &ExplainArgs) -> anyhow::Result<bool> {
    let token = if args.token == "-" { standard_input()? } else { args.token.trim().to_owned() };
    let (explanation, source) = match ask_broker(settings, args, &token).await? {
        Ok((explanation, url)) => (explanation, format!("the running broker's, at {url}")),
        Err(why) => {
            let text = format!(
                "the configuration's alone (known users, handlers that listen and revocations were not asked: {why})"
            );
            (ask_configuration(settings, args.action(), &args.topic, &token).await?, text)
        }
    };
    if args.json {
        say(&format!("{}\n", serde_json::to_string_pretty(&explanation)?))?;
    } else {
        say(&words(&explanation, &source))?;
    }
    Ok(explanation.allowed)
}

fn standard_input() -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .take(MOST)
        .read_to_string(&mut text)
        .context("no token could be read from standard input")?;
    Ok(text.trim().to_owned())
}

async fn ask_broker(
    settings: &Settings,
    args: &ExplainArgs,
    token: &str,
) -> anyhow::Result<Result<(Explanation, String), String>> {
    if args.offline {
        return Ok(Err("--offline".to_owned()));
    }
    let admin = Admin::new(settings, args.url.as_deref())?;
    let mut body = json!({ "action": args.action(), "topic": args.topic });
    if token == HANDLER {
        body["handler"] = json!(true);
    } else {
        body["token"] = json!(token);
    }
    let answer = admin.ask(reqwest::Method::POST, &["explain"], &[], Some(&body)).await;
    Ok(match answer {
        Ok(value) => {
            let explanation = serde_json::from_value(value).context("the broker's answer is of another version")?;
            Ok((explanation, admin.url))
        }
        // Who names a broker wants its answer.
        Err(error) if args.url.is_some() && !matches!(error, NoAnswer::NoKey) => anyhow::bail!("{error}"),
        Err(error) => Err(error.to_string()),
    })
}

async fn ask_configuration(
    settings: &Settings,
    action: Action,
    topic: &str,
    token: &str,
) -> anyhow::Result<Explanation> {
    let bearer = if token == HANDLER {
        Bearer::Handler
    } else {
        let (config, _keys) = verifier_config(settings)?;
        let verifier = Verifier::new(config, Clock::system())?;
        Bearer::of_token(verifier.verify(token).await, inspect(token))
    };
    let configured = Configured { commands: settings.texts("broker.topics.commands") };
    Ok(Explanation::new(bearer, action, topic, "configuration", |principal, topic| {
        configured.publish(principal, topic)
    }))
}

/// How tokens are verified here: as configured, or as `tidings up` does on this data folder. The file with the development
/// issuer's key lives as long as the second value.
fn verifier_config(settings: &Settings) -> anyhow::Result<(VerifierConfig, Option<tempfile::NamedTempFile>)> {
    let mut config = VerifierConfig::from_settings(settings);
    if has_own_issuer(settings) {
        return Ok((config, None));
    }
    let Some(issuer) = development::known_issuer(settings, &Clock::system())? else { return Ok((config, None)) };
    let mut file = tempfile::NamedTempFile::new().context("no temporary file can be made")?;
    file.write_all(issuer.jwks().to_string().as_bytes()).context("a temporary file cannot be written")?;
    config.jwks_file = Some(file.path().to_owned());
    if config.secret.is_none() {
        config.issuers = vec![issuer.url().to_owned()];
        config.audiences = vec!["tidings".to_owned()];
    }
    Ok((config, Some(file)))
}

fn words(explanation: &Explanation, source: &str) -> String {
    let Explanation { allowed, action, topic, rule, rule_allows, why, who, token, .. } = explanation;
    let verb = match action {
        Action::Publish => "publish on",
        Action::Subscribe => "subscribe to",
    };
    let verdict = if *allowed { "allowed" } else { "denied" };
    let mut text = format!("{verdict}: {verb} {}\n\n", topic.escape_default());
    let mut row = |name: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {name:<6} {value}");
    };
    let authentic = token.as_ref().is_none_or(|token| token.valid);
    row("who", &format!("{}{}", who.escape_debug(), if authentic { "" } else { " (so the token says)" }));
    if let Some(token) = token {
        match (&token.code, &token.problem) {
            (Some(code), Some(problem)) => row("token", &format!("refused, {code}: {problem}")),
            _ => row("token", "good"),
        }
        if let Some(at) = token.expires_at_ms {
            row("", &format!("exp {}", moment(at)));
        }
        if let Some(at) = token.issued_at_ms {
            row("", &format!("iat {}", moment(at)));
        }
        for (name, value) in
            [("iss", &token.issuer), ("jti", &token.jti), ("alg", &token.algorithm), ("kid", &token.key_id)]
        {
            if let Some(value) = value {
                row("", &format!("{name} {}", value.escape_debug()));
            }
        }
        if let Some(acl) = token.acl.as_ref().filter(|acl| !acl.publish.is_empty() || !acl.subscribe.is_empty()) {
            row("", &format!("acl publish {:?}, subscribe {:?}", acl.publish, acl.subscribe));
        }
    }
    let by_itself = match (allowed, rule_allows) {
        (false, true) => "; the rule allows it, the token does not open the door",
        _ => "",
    };
    row("rule", &format!("{rule}: {why}{by_itself}"));
    row("facts", source);
    text
}
