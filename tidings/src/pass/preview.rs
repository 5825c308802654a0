//! `tidings pass preview`: pictures of a template folder, of a .pkpass file or of a pass.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use reqwest::Method;
use serde_json::Map;
use tidings_passbook_service::package::{Issuer, Kind, Opened, PassContent, PassState, Preview, Rules, Template};
use tidings_shared::config::Settings;

use super::arguments::Change;
use crate::commands::say;
use crate::door::{Body, Door, Room, Verdict, Where};

/// What is drawn.
#[derive(Clone, Debug, Args)]
pub(crate) struct PreviewArgs {
    /// A template folder, a .pkpass file, or the serial number of a pass.
    what: String,
    /// The pass type identifier of a serial number (default: `wallet.pass_type`).
    #[arg(long = "type", value_name = "TYPE")]
    pass_type: Option<String>,
    #[command(flatten)]
    change: Change,
    /// The phone's language, for example de.
    #[arg(long)]
    language: Option<String>,
    /// The folder for front.svg and back.svg.
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    #[command(flatten)]
    at: Where,
}

pub(super) async fn run(settings: &Settings, args: &PreviewArgs) -> anyhow::Result<Verdict> {
    let path = Path::new(&args.what);
    let pictures = if path.is_dir() {
        of_folder(settings, path, args)?
    } else if args.what.ends_with(".pkpass") {
        let bytes = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let opened = Opened::read(&bytes).map_err(|faults| anyhow::anyhow!("{}:\n{faults}", path.display()))?;
        opened.pictures(args.language.as_deref())
    } else {
        of_pass(settings, args).await?
    };
    std::fs::create_dir_all(&args.out).with_context(|| format!("{} cannot be made", args.out.display()))?;
    for (name, picture) in [("front.svg", pictures.front), ("back.svg", pictures.back)] {
        let file = args.out.join(name);
        std::fs::write(&file, picture).with_context(|| format!("{} cannot be written", file.display()))?;
        say(&format!("{}\n", file.display()))?;
    }
    Ok(Verdict::Good)
}

/// Who would issue a template's passes.
pub(super) fn issuer(settings: &Settings, template: &Template) -> Issuer {
    let url = settings.optional_text("wallet.public_url").unwrap_or_else(|| "https://wallet.example.org".to_owned());
    let pass_type = template.pass_type().map_or_else(|| settings.text("wallet.pass_type"), str::to_owned);
    Issuer {
        kind: Kind::Pass,
        pass_type,
        team: settings.text("wallet.team"),
        web_service_url: url,
        rules: Rules { allow_http: true },
    }
}

fn of_folder(settings: &Settings, folder: &Path, args: &PreviewArgs) -> anyhow::Result<Preview> {
    let template = Template::from_folder(folder)?;
    let mut given = args.change.fields()?;
    given.retain(|_, value| !value.is_null());
    let fields = template.sample_fields(&given);
    let content = PassContent { serial: "0123456789", fields: &fields, user_info: None, state: &PassState::NONE };
    template
        .preview(&issuer(settings, &template), content, args.language.as_deref())
        .map_err(|faults| anyhow::anyhow!("{}:\n{faults}", folder.display()))
}

async fn of_pass(settings: &Settings, args: &PreviewArgs) -> anyhow::Result<Preview> {
    let door = Door::new(settings, Room::Wallet, &args.at)?;
    let pass_type = args.pass_type.clone().unwrap_or_else(|| settings.text("wallet.pass_type"));
    let path = ["passes", pass_type.as_str(), args.what.as_str(), "preview"];
    let mut sides = Map::new();
    for side in ["front", "back"] {
        let mut query = vec![("side", side)];
        query.extend(args.language.as_deref().map(|language| ("language", language)));
        let picture = door.send(Method::GET, &path, &query, Body::Empty, None).await?;
        sides.insert(side.to_owned(), String::from_utf8_lossy(&picture).into_owned().into());
    }
    let take = |side: &str| sides.get(side).and_then(|text| text.as_str()).unwrap_or_default().to_owned();
    Ok(Preview { front: take("front"), back: take("back") })
}
