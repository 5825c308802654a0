use super::*;
use serde_json::json;

fn good() -> Value {
    json!({
        "formatVersion": 1,
        "passTypeIdentifier": "pass.org.example",
        "serialNumber": "1",
        "teamIdentifier": "TEAM",
        "organizationName": "Example",
        "description": "A pass",
        "webServiceURL": "https://wallet.example.org",
        "authenticationToken": "0123456789abcdef",
        "storeCard": {"primaryFields": [{"key": "points", "label": "Points", "value": 12}]},
        "aKeyOfTheFuture": {"kept": true}
    })
}

fn faults(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut value = good();
    change(&mut value);
    match pass(&value, Rules::default()) {
        Ok(()) => Vec::new(),
        Err(faults) => faults.list().iter().map(|fault| fault.key.clone()).collect(),
    }
}

#[test]
fn a_good_pass_has_no_fault() {
    assert_eq!(pass(&good(), Rules::default()), Ok(()));
}

#[test]
fn each_rule_names_its_key() {
    let cases: Vec<(&str, Value, &str)> = vec![
        ("formatVersion", json!(2), "formatVersion"),
        ("formatVersion", json!("1"), "formatVersion"),
        ("description", json!(" "), "description"),
        ("serialNumber", json!(12), "serialNumber"),
        ("backgroundColor", json!("#fff"), "backgroundColor"),
        ("expirationDate", json!("tomorrow"), "expirationDate"),
        ("relevantDates", json!([{"startDate": "2026-01-01"}]), "relevantDates[0].startDate"),
        ("relevantDates", json!([{}]), "relevantDates[0]"),
        ("coupon", json!({}), "style"),
        ("storeCard", json!([]), "storeCard"),
        ("storeCard", json!({"transitType": "PKTransitTypeAir"}), "storeCard.transitType"),
        ("storeCard", json!({"backFields": [{"value": "x"}]}), "storeCard.backFields[0].key"),
        ("storeCard", json!({"backFields": [{"key": "x"}]}), "storeCard.backFields[0].value"),
        (
            "storeCard",
            json!({"backFields": [{"key": "x", "value": "1"}], "headerFields": [{"key": "x", "value": "1"}]}),
            "storeCard.backFields[0].key",
        ),
        (
            "storeCard",
            json!({"backFields": [{"key": "x", "value": "1", "dateStyle": "PKDateStyleShort"}]}),
            "storeCard.backFields[0].value",
        ),
        (
            "storeCard",
            json!({"backFields": [{"key": "x", "value": "1", "currencyCode": "EUR"}]}),
            "storeCard.backFields[0].value",
        ),
        (
            "storeCard",
            json!({"backFields": [{"key": "x", "value": 1, "currencyCode": "eur"}]}),
            "storeCard.backFields[0].currencyCode",
        ),
        (
            "storeCard",
            json!({"backFields": [{"key": "x", "value": "1", "textAlignment": "left"}]}),
            "storeCard.backFields[0].textAlignment",
        ),
        ("webServiceURL", json!("http://wallet.example.org"), "webServiceURL"),
        ("webServiceURL", json!("https://wallet.example.org/"), "webServiceURL"),
        ("webServiceURL", json!("https:///x"), "webServiceURL"),
        ("authenticationToken", json!("short"), "authenticationToken"),
        ("voided", json!("yes"), "voided"),
        ("locations", json!([{"latitude": 91, "longitude": 0}]), "locations[0].latitude"),
        ("beacons", json!([{"proximityUUID": "x"}]), "beacons[0].proximityUUID"),
        ("barcodes", json!([{"format": "QR", "message": "1", "messageEncoding": "iso-8859-1"}]), "barcodes[0].format"),
        (
            "barcodes",
            json!([{"format": "PKBarcodeFormatQR", "message": "", "messageEncoding": "iso-8859-1"}]),
            "barcodes[0].message",
        ),
        (
            "barcodes",
            json!([{"format": "PKBarcodeFormatQR", "message": "€", "messageEncoding": "iso-8859-1"}]),
            "barcodes[0].message",
        ),
        ("barcodes", json!([{"format": "PKBarcodeFormatQR", "message": "1"}]), "barcodes[0].messageEncoding"),
        (
            "barcodes",
            json!([{"format": "PKBarcodeFormatEAN13", "message": "4006381333931", "messageEncoding": "iso-8859-1"}]),
            "barcodes",
        ),
        (
            "barcode",
            json!({"format": "PKBarcodeFormatCode128", "message": "1", "messageEncoding": "iso-8859-1"}),
            "barcode.format",
        ),
        ("nfc", json!({"message": "x"}), "nfc.encryptionPublicKey"),
        ("groupingIdentifier", json!("x"), "groupingIdentifier"),
        ("appLaunchURL", json!("app://"), "appLaunchURL"),
    ];
    for (key, value, expected) in cases {
        let shown = value.to_string();
        let found = faults(|pass| pass[key] = value);
        assert_eq!(found, [expected], "{key} = {shown}");
    }
}

#[test]
fn what_belongs_together_is_asked_for_together() {
    let without = |key: &str| {
        faults(|pass| {
            pass.as_object_mut().unwrap().remove(key);
        })
    };
    assert_eq!(without("authenticationToken"), ["authenticationToken"]);
    assert_eq!(without("webServiceURL"), ["webServiceURL"]);
    assert_eq!(without("storeCard"), ["style"]);
    assert_eq!(without("teamIdentifier"), ["teamIdentifier"]);
}

#[test]
fn http_is_for_development_only() {
    let mut value = good();
    value["webServiceURL"] = json!("http://127.0.0.1:8082");
    assert!(pass(&value, Rules::default()).is_err());
    assert_eq!(pass(&value, Rules { allow_http: true }), Ok(()));
}

#[test]
fn a_new_format_with_a_fallback_is_fine() {
    let barcode = |format: &str| json!({"format": format, "message": "4006381333931", "messageEncoding": "iso-8859-1"});
    let formats = json!([barcode("PKBarcodeFormatEAN13"), barcode("PKBarcodeFormatQR")]);
    assert!(faults(|pass| pass["barcodes"] = formats).is_empty());
    let wrong_digit =
        json!({"format": "PKBarcodeFormatEAN13", "message": "4006381333932", "messageEncoding": "iso-8859-1"});
    assert_eq!(
        faults(|pass| pass["barcodes"] = json!([wrong_digit, barcode("PKBarcodeFormatQR")])),
        ["barcodes[0].message"]
    );
}

#[test]
fn all_faults_are_told_at_once_and_the_token_is_never_shown() {
    let mut value = good();
    value["backgroundColor"] = json!("red");
    value["description"] = json!("");
    value["authenticationToken"] = json!("secret-secret");
    let text = pass(&value, Rules::default()).unwrap_err().to_string();
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(text.contains("backgroundColor: found \"red\"; a colour is written rgb(R, G, B)"), "{text}");
    assert!(!text.contains("secret-secret"), "{text}");
}

#[test]
fn semantic_tags_have_kinds_and_unknown_ones_are_kept() {
    for (tags, key) in [
        (json!({"flightNumber": "123"}), "semantics.flightNumber"),
        (json!({"eventStartDate": "tomorrow"}), "semantics.eventStartDate"),
        (json!({"eventType": "PKEventTypeParty"}), "semantics.eventType"),
        (json!({"venueLocation": {"latitude": 91, "longitude": 0}}), "semantics.venueLocation.latitude"),
        (json!({"balance": {"amount": "12"}}), "semantics.balance"),
        (json!({"performerNames": ["A", 1]}), "semantics.performerNames"),
        (json!({"silenceRequested": "yes"}), "semantics.silenceRequested"),
        (json!({"passengerCapabilities": ["PKPassengerCapabilityFlying"]}), "semantics.passengerCapabilities"),
        (json!({"seats": {}}), "semantics.seats"),
        (json!({"venueName": 1}), "semantics.venueName"),
    ] {
        assert_eq!(faults(|pass| pass["semantics"] = tags), [key]);
    }
    let good = json!({
        "flightNumber": 123, "eventStartDate": "2026-04-30T18:05:00Z", "eventType": "PKEventTypeSports",
        "venueLocation": {"latitude": 1.5, "longitude": -2}, "balance": {"amount": "1", "currencyCode": "EUR"},
        "ofTheFuture": [1, {"a": true}], "venueName": "{{venue}}",
    });
    assert_eq!(faults(|pass| pass["semantics"] = good), Vec::<String>::new());
}

#[test]
fn barcodes_are_written_only_as_their_format_can_and_newer_ones_come_first() {
    let code = |format: &str, message: &str| json!({"format": format!("PKBarcodeFormat{format}"), "message": message, "messageEncoding": "iso-8859-1"});
    for (format, message) in [
        ("EAN13", "4006381333932"),
        ("I2of5", "123"),
        ("I2of5", "12a4"),
        ("Code39", "abc"),
        ("Codabar", "A12C3B"),
        ("Codabar", "x"),
        ("Code128", "é"),
        ("ITF", "12"),
    ] {
        let found = faults(|pass| pass["barcodes"] = json!([code(format, message), code("QR", "1")]));
        assert!(found.iter().all(|key| key.starts_with("barcodes[0].")) && found.len() == 1, "{format}: {found:?}");
    }
    for (format, message) in
        [("EAN13", "4006381333931"), ("I2of5", "1234"), ("Code39", "A-1 $"), ("Codabar", "A12-3B"), ("Codabar", "123")]
    {
        let found = faults(|pass| pass["barcodes"] = json!([code(format, message), code("QR", "1")]));
        assert_eq!(found, Vec::<String>::new(), "{format}");
    }
    let hidden = json!([code("QR", "1"), code("EAN13", "4006381333931"), code("QR", "1")]);
    assert_eq!(faults(|pass| pass["barcodes"] = hidden), ["barcodes[1].format"]);
    let alone = json!([code("EAN13", "4006381333931")]);
    assert_eq!(faults(|pass| pass["barcodes"] = alone), ["barcodes"]);
}

#[test]
fn newer_styles_stand_beside_the_one_that_phones_fall_back_to() {
    assert_eq!(faults(|pass| pass["preferredStyleSchemes"] = json!(["posterEventTicket"])), ["preferredStyleSchemes"]);
    assert_eq!(faults(|pass| pass["preferredStyleSchemes"] = json!(["poster"])), ["preferredStyleSchemes"]);
    let fields: Vec<_> = (0..5).map(|number| json!({"key": number.to_string(), "value": "x"})).collect();
    assert_eq!(
        faults(|pass| pass["posterGeneric"] = json!({"primaryFields": fields})),
        ["posterGeneric.primaryFields"]
    );
    assert_eq!(faults(|pass| pass["featuredActions"] = json!([{}])), ["featuredActions[0].type"]);
    assert_eq!(faults(|pass| pass["upgradeURL"] = json!("nowhere")), ["upgradeURL"]);
}
