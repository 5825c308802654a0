//! `tidings pass certificates`: what signs which type, and until when.

use clap::Args;
use serde_json::Value;
use tidings_shared::config::Settings;

use crate::commands::say;
use crate::door::{Door, Room, Verdict, Where};
use crate::table::table;

/// What `certificates` takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct CertificatesArgs {
    /// Print the service's JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: Where,
}

/// Ends with 1 when a type cannot be signed, or only for less than 30 days.
pub(super) async fn run(settings: &Settings, args: &CertificatesArgs) -> anyhow::Result<Verdict> {
    let door = Door::new(settings, Room::Wallet, &args.at)?;
    let answer = door.get(&["certificates"], &[]).await?;
    let types = answer["types"].as_array().cloned().unwrap_or_default();
    let bad = types.iter().filter(|one| !lasts(one)).count();
    if args.json {
        say(&format!("{answer:#}\n"))?;
    } else {
        let rows: Vec<_> = types.iter().flat_map(rows).collect();
        say(&table(&["type", "certificate", "state", "until", "days", "fingerprint"], &rows))?;
        if bad > 0 {
            say(
                "\nrenew what ends soon in the developer account, and add it under wallet.certificates or replace the files\n",
            )?;
        }
    }
    Ok(if bad == 0 { Verdict::Good } else { Verdict::Bad })
}

/// Whether one of the type's certificates signs now, and one that does not end soon is there.
fn lasts(one: &Value) -> bool {
    let certificates = one["certificates"].as_array();
    let any = |wanted: &dyn Fn(&Value) -> bool| certificates.is_some_and(|list| list.iter().any(wanted));
    any(&|certificate| certificate["state"] == "signing")
        && any(&|certificate| certificate["state"] != "ended" && certificate["endsSoon"] == false)
}

fn rows(one: &Value) -> Vec<Vec<String>> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let certificates = one["certificates"].as_array().into_iter().flatten();
    certificates
        .map(|certificate| {
            let until = certificate["until"].as_i64().unwrap_or_default();
            let date =
                time::OffsetDateTime::from_unix_timestamp(until.div_euclid(1000)).map(|time| time.date().to_string());
            vec![
                text(&one["typeIdentifier"]),
                text(&certificate["name"]),
                text(&certificate["state"]),
                date.unwrap_or_default(),
                certificate["days"].to_string(),
                text(&certificate["fingerprint"]).chars().take(16).collect(),
            ]
        })
        .collect()
}
