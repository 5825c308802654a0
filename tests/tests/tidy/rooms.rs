//! What may only be in one room: SQL, topic strings, tokens, provider protocols; and what the engine must never have.

use crate::source::{Source, nothing_at, sources};

/// The lines of code in production sources outside the allowed ones in which `wrong` finds something.
fn outside(allowed: impl Fn(&Source) -> bool, wrong: impl Fn(&str) -> bool) -> Vec<String> {
    let mut places = Vec::new();
    for source in sources() {
        if allowed(&source) || source.is_test() || in_crate(&source, &["xtask", "tests"]) {
            continue;
        }
        for line in source.code() {
            if wrong(line.code) {
                places.push(format!("{}:{}: {}", source.path, line.number, line.code.trim()));
            }
        }
    }
    places
}

fn in_crate(source: &Source, crates: &[&str]) -> bool {
    crates.iter().any(|name| source.path.starts_with(&format!("{name}/")))
}

/// The text inside the double quotes of a line.
fn literals(code: &str) -> impl Iterator<Item = &str> {
    code.split('"').skip(1).step_by(2)
}

#[test]
fn sql_is_only_in_storage_modules() {
    let verbs = ["SELECT ", "INSERT INTO ", "UPDATE ", "DELETE FROM ", "CREATE TABLE "];
    let places = outside(
        |source| source.is_in_module(&["store", "storage", "migrations"]),
        |code| {
            code.contains("sqlx::query")
                || code.split('"').skip(1).any(|text| {
                    let text = text.trim_start();
                    verbs.iter().any(|verb| text.starts_with(verb) && (*verb != "UPDATE " || code.contains(" SET ")))
                })
        },
    );
    nothing_at("SQL lives in modules named `store` or `storage` (architecture, invariant 6)", &places);
}

#[test]
fn topic_strings_are_only_in_shared_topic() {
    // The command topics and the topics of users and of Tidings itself. Handlers are registered by these names, so
    // their file names and functions carry them; what is looked for is the text in quotes.
    let places = outside(
        |source| source.path.starts_with("shared/src/topic"),
        |code| {
            literals(code).any(|text| {
                text.contains("$tidings/")
                    || ["_contact_requested", "_contact_approved", "_contact_list"]
                        .iter()
                        .any(|end| text.ends_with(end))
                    || ["request_contact", "accept_contact", "get_contact_list", "register_push_token"].contains(&text)
            })
        },
    );
    nothing_at("topic strings live in shared/src/topic (architecture, invariant 6)", &places);
}

#[test]
fn tokens_are_verified_only_in_shared_auth() {
    // Signing for a provider is that provider's protocol; simulators check what the gateway signed and issue tokens.
    let places = outside(
        |source| {
            source.path.starts_with("shared/src/auth/")
                || source.path.starts_with("push-gateway/src/provider/")
                || in_crate(source, &["simulators"])
        },
        |code| code.contains("jsonwebtoken"),
    );
    nothing_at("JWT lives in shared/src/auth (architecture, invariant 6)", &places);
}

#[test]
fn provider_protocols_are_only_in_the_gateways_provider_modules() {
    let places = outside(
        |source| source.path.starts_with("push-gateway/src/provider/") || in_crate(source, &["simulators"]),
        |code| {
            literals(code).any(|text| {
                ["apns-topic", "apns-push-type", "/3/device/", "messages:send"].iter().any(|part| text.contains(part))
            })
        },
    );
    nothing_at("provider protocols live in push-gateway/src/provider (architecture, invariant 6)", &places);
}

#[test]
fn google_wallets_protocol_is_only_in_its_room() {
    let places = outside(
        |source| source.path.starts_with("passbook-service/src/google/") || in_crate(source, &["simulators"]),
        |code| literals(code).any(|text| text.contains("walletobjects") || text.contains("savetowallet")),
    );
    nothing_at("Google Wallet is spoken in passbook-service/src/google (architecture, invariant 6)", &places);
}

#[test]
fn the_engine_has_no_sockets_and_no_wall_clock() {
    let forbidden = ["tokio", "std::net", "SystemTime", "Instant", "std::thread", "async fn", ".await"];
    let mut places = Vec::new();
    for source in sources().iter().filter(|source| source.path.starts_with("broker/src/engine/")) {
        for line in source.code() {
            for word in forbidden.iter().filter(|word| line.code.contains(*word)) {
                places.push(format!("{}:{}: `{word}` in: {}", source.path, line.number, line.code.trim()));
            }
        }
    }
    nothing_at("broker/src/engine runs in simulated time (architecture, invariant 5)", &places);
}
