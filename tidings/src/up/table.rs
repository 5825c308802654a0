//! What a newcomer sees: addresses, keys, tokens, and three lines to try it.

use std::fmt::Write;
use std::path::Path;

use anyhow::Context;
use tidings_shared::config::Settings;
use tidings_shared::identity::UserId;
use tidings_shared::tls::write_private;

use super::wiring::{has_own_issuer, reach};
use super::{Up, development};

/// The users of the contact scenario.
const USERS: [&str; 2] = ["68946", "23412"];

/// The table and the try-it.
///
/// # Errors
/// When the token files cannot be written.
pub(super) fn table(up: &Up) -> anyhow::Result<String> {
    let settings = &up.settings;
    let data = settings.path("data");
    let credentials = up.simulators.credentials();
    let address = |setting: &str| reach(settings.address(setting));
    let every = |setting: &str, before: &str, after: &str| {
        let addresses = settings.addresses(setting).into_iter();
        addresses.map(|listen| format!("{before}{}{after}", reach(listen))).collect::<Vec<_>>().join(", ")
    };
    let mut rows = vec![
        ("MQTT", every("broker.mqtt.listen", "", "")),
        (
            "MQTT over TLS",
            format!("{}  (trust {})", every("broker.mqtt_tls.listen", "", ""), data.join("ca/ca.pem").display()),
        ),
        ("MQTT over WebSocket", every("broker.http.listen", "ws://", "/mqtt")),
        ("broker HTTP", every("broker.http.listen", "http://", "/v1/messages")),
        ("push-gateway", format!("http://{}/v1/notifications", address("push.listen"))),
        ("passbook-service", format!("http://{}/api/passes", address("wallet.listen"))),
        ("handlers' health", format!("http://{}/readyz", address("handlers.listen"))),
        ("APNs simulator", credentials.apns_url.clone()),
        ("FCM simulator", credentials.fcm_url.clone()),
        ("simulators' control", format!("{}/pushes", credentials.control_url)),
        ("token issuer", credentials.jwks_url.clone()),
        ("data folder", data.display().to_string()),
        ("handler key", key(settings, "keys.handler")),
        ("service key", key(settings, "keys.service")),
        ("admin key", key(settings, "keys.admin")),
    ];
    let own_issuer =
        has_own_issuer(settings) && settings.optional_text("auth.jwks_url").as_ref() != Some(&credentials.jwks_url);
    let mut files = Vec::new();
    let mut tokens = String::new();
    if own_issuer {
        rows.push(("tokens", "from your own issuer (auth.*); development tokens are not accepted".to_owned()));
    } else {
        development::note_issuer(&data, up.simulators.issuer().url())?;
        for user in USERS {
            let token = development::token(up.simulators.issuer(), &UserId::new(user)?, "30d")?;
            files.push(write_token(&data, user, &token)?);
            let _ = writeln!(tokens, "token of user {user} (30 days):\n{token}\n");
        }
    }
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = String::from("\nTidings, for development: everything in this process, providers simulated.\n\n");
    for (name, value) in rows {
        let _ = writeln!(text, "  {name:width$}  {value}");
    }
    let _ = writeln!(text, "\n{tokens}");
    if let [alice, bob] = files.as_slice() {
        let listen = settings.address("broker.mqtt.listen");
        let host = match reach(listen) {
            at if at.ip().to_string() == "127.0.0.1" && at.port() == 1883 => String::new(),
            at => format!(" -h {} -p {}", at.ip(), at.port()),
        };
        let _ = writeln!(
            text,
            "Try it, in a second terminal (23412 listens, 68946 asks for contact, 23412 gets the request):\n\
             mosquitto_sub{host} -u JWT -P \"$(cat {bob})\" -i phone-b -q 1 -v -t 23412_contact_requested &\n\
             mosquitto_pub{host} -u JWT -P \"$(cat {alice})\" -i phone-a -q 1 -t request_contact -m '{{\"user\":\"23412\"}}'\n\
             mosquitto_pub{host} -u JWT -P \"$(cat {bob})\" -q 1 -t accept_contact -m '{{\"user\":\"68946\"}}'\n"
        );
    }
    Ok(text)
}

/// The first key; it is printed because it was made for this machine. One that the operator has set is not.
fn key(settings: &Settings, path: &str) -> String {
    match settings.texts(path).into_iter().next() {
        Some(key) if key.starts_with("dev-") => key,
        Some(_) => "as configured".to_owned(),
        None => "none".to_owned(),
    }
}

fn write_token(data: &Path, user: &str, token: &str) -> anyhow::Result<String> {
    let folder = data.join("dev").join("tokens");
    std::fs::create_dir_all(&folder).with_context(|| format!("the folder {} cannot be made", folder.display()))?;
    let file = folder.join(user);
    write_private(&file, token)?;
    Ok(file.display().to_string())
}
