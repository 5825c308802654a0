use serde_json::json;

use super::*;
use crate::package::example_files;

fn drawn(pass: Value) -> Preview {
    draw(&pass, &BTreeMap::new(), &BTreeMap::new(), None)
}

#[test]
fn every_style_shows_its_fields_on_the_side_where_wallet_has_them() {
    for style in STYLES {
        let pass = json!({
            "organizationName": "Org", "description": "What it is", "logoText": "Logo", "backgroundColor": "rgb(1,2,3)",
            (style): {
                "transitType": "PKTransitTypeAir",
                "headerFields": [{"key": "h", "label": "hl", "value": "header-value"}],
                "primaryFields": [{"key": "p", "label": "pl", "value": "P-value"}],
                "secondaryFields": [{"key": "s", "label": "sl", "value": "S-value"}],
                "auxiliaryFields": [{"key": "a", "label": "al", "value": "A-value"}],
                "backFields": [{"key": "b", "label": "bl", "value": "B-value", "attributedValue": "<a href='x'>B-link</a>"}],
            },
            "barcodes": [{"format": "PKBarcodeFormatQR", "message": "M", "messageEncoding": "iso-8859-1", "altText": "ALT"}],
        });
        let Preview { front, back } = drawn(pass);
        for part in ["header-value", "P-value", "S-value", "A-value", "ALT", "#010203", "HL", "crispEdges"] {
            assert!(front.contains(part), "{style}: {part}: {front}");
        }
        assert!(back.contains("B-link") && !front.contains("B-link") && !back.contains("href='x'"), "{style}");
    }
}

#[test]
fn what_somebody_wrote_is_never_markup() {
    let evil = "</text><script>alert(1)</script>";
    let pass = json!({
        "organizationName": evil, "description": evil, "logoText": evil, "backgroundColor": "\"/><script>",
        "storeCard": {
            "primaryFields": [{"key": evil, "label": evil, "value": evil}],
            "secondaryFields": [{"key": "s", "label": evil, "value": evil, "textAlignment": evil}],
            "backFields": [{"key": "b", "label": evil, "value": evil}],
        },
        "barcodes": [{"format": evil, "message": evil, "messageEncoding": evil, "altText": evil}],
    });
    let Preview { front, back } = drawn(pass);
    for side in [front, back] {
        assert!(!side.contains("<script"), "{side}");
    }
}

#[test]
fn the_example_is_drawn_in_the_phones_language_with_its_images() {
    let template = Template::from_files("example", example_files()).unwrap();
    let pass = json!({"storeCard": {"primaryFields": [{"key": "p", "label": "points_label", "value": 7}]}});
    let english = template.pictures(&pass, Some("en-GB")).front;
    let german = template.pictures(&pass, Some("de")).front;
    assert_ne!(english, german);
    assert!(english.contains("data:image/png;base64,"));
    let fields = template.sample_fields(&serde_json::Map::new());
    assert_eq!(fields.keys().collect::<Vec<_>>(), ["name", "points"], "defaults stay");
}

#[test]
fn a_void_pass_says_so() {
    let pass = |voided| json!({"voided": voided, "generic": {}, "barcodes": [{"format": "PKBarcodeFormatQR", "message": "1", "messageEncoding": "utf-8"}]});
    assert!(drawn(pass(true)).front.contains("VOID"));
    assert!(!drawn(pass(false)).front.contains("VOID"));
}
