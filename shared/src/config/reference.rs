//! The reference page and the commented default file, made from the tables (committed, and checked for drift).

use std::fmt::Write;

use super::Setting;
use super::kind::Kind;

/// A Markdown page that lists every setting.
#[must_use]
pub fn reference_page(tables: &[&[Setting]]) -> String {
    let mut page = String::from(
        "# Configuration reference\n\nMade from the code by `tidings config reference`; do not edit.\n\n\
         Lowest first: default, TOML file (`--config`, `TIDINGS_CONFIG`, or `tidings.toml` here), `.env`, environment, flags.\n\
         In the environment `broker.mqtt.listen` is `TIDINGS_BROKER__MQTT__LISTEN`.\n\n\
         | setting | default | allowed | what for |\n|---|---|---|---|\n",
    );
    for setting in tables.iter().flat_map(|table| table.iter()) {
        let default = match setting.default {
            None => "unset".to_owned(),
            Some("") => "empty".to_owned(),
            Some(default) => format!("`{default}`"),
        };
        let allowed = setting.kind.allowed().replace('|', "\\|");
        let _ = writeln!(page, "| `{}` | {default} | {allowed} | {} |", setting.path, setting.doc.replace('|', "\\|"));
    }
    page
}

/// A TOML file with every setting at its default, commented out.
#[must_use]
pub fn default_file(tables: &[&[Setting]]) -> String {
    let mut file = String::from("# Every setting of Tidings at its default. Uncomment what you change.\n");
    // TOML has each table once, wherever its settings are declared.
    let mut sections: Vec<(&str, Vec<(&str, &Setting)>)> = Vec::new();
    for setting in tables.iter().flat_map(|table| table.iter()) {
        let (head, key) = setting.path.rsplit_once('.').unwrap_or(("", setting.path));
        match sections.iter_mut().find(|(section, _)| *section == head) {
            Some((_, keys)) => keys.push((key, setting)),
            None => sections.push((head, vec![(key, setting)])),
        }
    }
    // Keys of no table come before the first table.
    sections.sort_by_key(|(head, _)| !head.is_empty());
    for (head, keys) in sections {
        if !head.is_empty() {
            let _ = writeln!(file, "\n# [{}]", head.replace('*', "NAME"));
        }
        for (key, setting) in keys {
            let _ = writeln!(file, "# {}\n# {key} = {}", setting.doc, toml_text(setting));
        }
    }
    file
}

fn toml_text(setting: &Setting) -> String {
    let default = setting.default.unwrap_or_default();
    match setting.kind {
        Kind::Flag | Kind::Count { .. } if !default.is_empty() => default.to_owned(),
        Kind::Texts | Kind::Secrets => {
            let items: Vec<String> =
                default.split(',').filter(|item| !item.is_empty()).map(|item| format!("\"{item}\"")).collect();
            format!("[{}]", items.join(", "))
        }
        _ => format!("\"{default}\""),
    }
}
