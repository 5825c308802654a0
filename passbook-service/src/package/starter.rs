//! A template to begin with, for each style: it passes every check, and its texts say what belongs where.

use serde_json::{Value, json};

use super::example;
use super::validate::STYLES;

/// What `tidings pass template new` can begin with.
pub const STARTERS: [&str; 6] = ["boardingPass", "coupon", "eventTicket", "generic", "storeCard", "posterGeneric"];

/// The files of a new template; `None`: there is no such style.
#[must_use]
pub fn starter(style: &str) -> Option<Vec<(String, Vec<u8>)>> {
    let content = content(style)?;
    let mut pass = json!({
        "formatVersion": 1,
        "organizationName": "Your organization",
        "description": "What this pass is, for VoiceOver",
        "logoText": "Your organization",
        "backgroundColor": "rgb(28, 61, 90)",
        "foregroundColor": "rgb(255, 255, 255)",
        "labelColor": "rgb(158, 202, 237)",
    });
    if style == "posterGeneric" {
        // Phones before iOS 27 draw this one.
        pass["generic"] = content_of_generic();
    }
    pass[style] = content;
    pass["barcodes"] = json!([{
        "format": "PKBarcodeFormatQR",
        "message": "{{serialNumber}}",
        "messageEncoding": "iso-8859-1",
        "altText": "{{serialNumber}}",
    }]);
    debug_assert!(STYLES.contains(&style) || style == "posterGeneric");
    let images = example::files().into_iter().filter(|(name, _)| {
        name.starts_with("icon")
            || name.starts_with("logo")
            || (name.starts_with("strip") && matches!(style, "coupon" | "storeCard" | "eventTicket"))
    });
    let strings = "/* Texts of one language: copy the folder for each other one. */\n\"name_label\" = \"Name\";\n\"terms_label\" = \"Terms\";\n\"terms_text\" = \"What applies, where to ask.\";\n";
    let mut files: Vec<_> = images.collect();
    files.push(("pass.json".to_owned(), format!("{pass:#}\n").into_bytes()));
    files.push(("en.lproj/pass.strings".to_owned(), strings.as_bytes().to_vec()));
    files.sort();
    Some(files)
}

fn content_of_generic() -> Value {
    json!({
        "primaryFields": [{"key": "name", "label": "name_label", "value": "{{name}}"}],
        "secondaryFields": [{"key": "level", "label": "Level", "value": "{{level|Member}}", "changeMessage": "You are %@ now"}],
        "backFields": [{"key": "terms", "label": "terms_label", "value": "terms_text"}],
    })
}

fn content(style: &str) -> Option<Value> {
    let terms = json!([{"key": "terms", "label": "terms_label", "value": "terms_text"}]);
    let name = json!({"key": "name", "label": "name_label", "value": "{{name}}"});
    Some(match style {
        "boardingPass" => json!({
            "transitType": "PKTransitTypeAir",
            "headerFields": [{"key": "gate", "label": "Gate", "value": "{{gate|-}}", "changeMessage": "Gate changed to %@"}],
            "primaryFields": [
                {"key": "from", "label": "{{fromCity}}", "value": "{{from}}"},
                {"key": "to", "label": "{{toCity}}", "value": "{{to}}"},
            ],
            "auxiliaryFields": [
                {"key": "flight", "label": "Flight", "value": "{{flight}}"},
                {"key": "boards", "label": "Boards", "value": "{{boards}}", "dateStyle": "PKDateStyleNone", "timeStyle": "PKDateStyleShort", "changeMessage": "Boards at %@"},
                {"key": "seat", "label": "Seat", "value": "{{seat}}", "changeMessage": "Your seat is %@"},
            ],
            "secondaryFields": [name],
            "backFields": terms,
        }),
        "coupon" => json!({
            "headerFields": [{"key": "until", "label": "Until", "value": "{{until}}", "dateStyle": "PKDateStyleShort"}],
            "primaryFields": [{"key": "offer", "label": "{{offerText|on everything}}", "value": "{{offer}}", "changeMessage": "Now %@"}],
            "backFields": terms,
        }),
        "eventTicket" => json!({
            "headerFields": [{"key": "date", "label": "Date", "value": "{{date}}", "dateStyle": "PKDateStyleShort"}],
            "primaryFields": [{"key": "event", "label": "Event", "value": "{{event}}"}],
            "secondaryFields": [{"key": "venue", "label": "Venue", "value": "{{venue}}"}],
            "auxiliaryFields": [
                {"key": "section", "label": "Section", "value": "{{section|-}}"},
                {"key": "seat", "label": "Seat", "value": "{{seat|-}}", "changeMessage": "Your seat is %@"},
            ],
            "backFields": terms,
        }),
        "generic" => content_of_generic(),
        "storeCard" => json!({
            "headerFields": [{"key": "level", "label": "Level", "value": "{{level|Guest}}"}],
            "primaryFields": [{"key": "points", "label": "Points", "value": "{{points}}", "changeMessage": "You have %@ points"}],
            "secondaryFields": [name],
            "backFields": terms,
        }),
        "posterGeneric" => json!({
            "headerFields": [{"key": "number", "label": "No.", "value": "{{serialNumber}}"}],
            "primaryFields": [name],
            "footerFields": [{"key": "level", "label": "Level", "value": "{{level|Member}}"}],
            "backFields": terms,
        }),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::{Issuer, Kind, PassContent, PassState, Rules, Template};

    #[test]
    fn every_starter_passes_every_check_and_can_be_drawn() {
        let issuer = Issuer {
            kind: Kind::Pass,
            pass_type: "pass.org.example".to_owned(),
            team: "TEAM".to_owned(),
            web_service_url: "https://wallet.example.org".to_owned(),
            rules: Rules::default(),
        };
        for style in STARTERS {
            let template = Template::from_files("new", starter(style).unwrap()).unwrap();
            template.check_for(&issuer).unwrap();
            let fields = template.sample_fields(&serde_json::Map::new());
            let content = PassContent { serial: "1", fields: &fields, user_info: None, state: &PassState::NONE };
            let pictures = template.preview(&issuer, content, None).unwrap();
            assert!(pictures.front.contains("<path") && pictures.back.contains("What applies"), "{style}");
        }
        assert!(starter("other").is_none());
    }
}
