use serde_json::{Value, json};

use super::*;
use crate::package::{Issuer, Kind, PassContent, PassState, Rules, Template, example_files};

const NOW: i64 = 1_790_000_000_000;

fn around(languages: Languages) -> Surroundings<'static> {
    Surroundings {
        issuer_id: "3388000000012345678",
        review_status: "UNDER_REVIEW",
        template: "example",
        languages,
        image: &|name| (name != "strip@3x.png").then(|| format!("https://wallet.example.org/get/image/example/{name}")),
        now_ms: NOW,
    }
}

fn mapped(pass: &Value) -> Mapped {
    let mut whole = json!({
        "formatVersion": 1, "passTypeIdentifier": "pass.org.example", "serialNumber": "42/ü", "teamIdentifier": "T",
        "organizationName": "Café", "description": "A card", "backgroundColor": "rgb(28, 61, 90)",
    });
    whole.as_object_mut().unwrap().extend(pass.as_object().unwrap().clone());
    map(&whole, &around(Languages::new("en", BTreeMap::new()))).unwrap()
}

#[test]
fn the_example_template_becomes_a_loyalty_card_in_both_its_languages() {
    let template = Template::from_files("example", example_files()).unwrap();
    let issuer = Issuer {
        kind: Kind::Pass,
        pass_type: "pass.org.example".to_owned(),
        team: "T".to_owned(),
        web_service_url: "https://wallet.example.org".to_owned(),
        rules: Rules::default(),
    };
    let fields = json!({"points": 7, "name": "Ada", "level": "Gold"});
    let content =
        PassContent { serial: "1", fields: fields.as_object().unwrap(), user_info: None, state: &PassState::NONE };
    let pass = template.preview_json(&issuer, content).unwrap();
    let strings = ["en", "de"].map(|language| (language.to_owned(), template.strings_of(language)));
    let made = map(&pass, &around(Languages::new("en", BTreeMap::from(strings)))).unwrap();
    assert_eq!(made.resource, Resource::Loyalty);
    assert_eq!(made.class["issuerName"], "Tidings Café");
    assert_eq!(made.class["programName"], "Tidings Café");
    assert_eq!(made.class["multipleDevicesAndHoldersAllowedStatus"], "ONE_USER_ALL_DEVICES");
    assert!(made.class["programLogo"]["sourceUri"]["uri"].as_str().unwrap().ends_with("/icon@3x.png"));
    assert!(made.class["heroImage"]["sourceUri"]["uri"].as_str().unwrap().ends_with("/strip@2x.png"));
    let object = &made.object;
    assert_eq!(object["state"], "ACTIVE");
    assert_eq!(object["loyaltyPoints"]["balance"], json!({"int": 7}));
    assert_eq!(object["secondaryLoyaltyPoints"]["balance"], json!({"string": "Gold"}));
    let label = &object["loyaltyPoints"]["localizedLabel"];
    assert_eq!(label["defaultValue"]["language"], "en");
    assert_eq!(label["translatedValues"][0]["language"], "de");
    assert_eq!(object["accountName"], "Ada");
    assert_eq!(object["barcode"]["type"], "QR_CODE");
    let modules: Vec<&str> =
        object["textModulesData"].as_array().unwrap().iter().map(|module| module["id"].as_str().unwrap()).collect();
    assert_eq!(modules, ["offer", "about", "number"], "what has a place of its own is not said twice");
    assert_eq!(made.told.keys().collect::<Vec<_>>(), ["level", "offer", "points"]);
}

#[test]
fn ids_are_of_googles_alphabet_and_differ_between_passes() {
    let card = json!({"storeCard": {}});
    let made = mapped(&card);
    let other = mapped(&json!({"storeCard": {}, "serialNumber": "42_ü"}));
    for id in [made.object_id(), made.class_id()] {
        assert!(id.starts_with("3388000000012345678."), "{id}");
        assert!(id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')), "{id}");
    }
    assert_ne!(made.object_id(), other.object_id());
    assert_eq!(made.class_id(), other.class_id(), "passes of a template share its class");
    assert_eq!(made, mapped(&card), "the same pass gives the same object");
}

#[test]
fn money_is_told_in_millionths() {
    let made = mapped(&json!({"storeCard": {"primaryFields": [{"key": "b", "value": 12.34, "currencyCode": "EUR"}]}}));
    assert_eq!(
        made.object["loyaltyPoints"]["balance"],
        json!({"money": {"currencyCode": "EUR", "micros": "12340000"}})
    );
}

#[test]
fn voiding_and_expiring_become_states() {
    let state = |pass: Value| mapped(&pass).object["state"].as_str().unwrap().to_owned();
    assert_eq!(state(json!({"coupon": {}})), "ACTIVE");
    assert_eq!(state(json!({"coupon": {}, "voided": true})), "INACTIVE");
    assert_eq!(state(json!({"coupon": {}, "expirationDate": "2020-01-01T00:00Z"})), "EXPIRED");
    assert_eq!(state(json!({"coupon": {}, "expirationDate": "2020-01-01T00:00+0200"})), "EXPIRED");
    let zoned = mapped(&json!({"coupon": {}, "expirationDate": "2036-01-01T00:00:00-0330"}));
    assert_eq!(zoned.object["validTimeInterval"], json!({"end": {"date": "2036-01-01T00:00:00-03:30"}}));
    let ahead = mapped(&json!({"coupon": {}, "expirationDate": "2036-01-01T00:00:00Z"}));
    assert_eq!(ahead.object["state"], "ACTIVE");
    assert_eq!(ahead.object["validTimeInterval"]["end"]["date"], "2036-01-01T00:00:00Z");
}

#[test]
fn a_coupon_is_an_offer_and_its_colour_is_the_classes() {
    let made = mapped(&json!({"coupon": {"primaryFields": [{"key": "o", "label": "Off", "value": "20 %"}]}}));
    assert_eq!(made.resource, Resource::Offer);
    assert_eq!(made.class["title"], "A card");
    assert_eq!(made.class["redemptionChannel"], "BOTH");
    assert_eq!(made.class["hexBackgroundColor"], "#1c3d5a");
    assert_eq!(made.object["textModulesData"][0]["body"], "20 %");
}

#[test]
fn each_event_has_a_class_of_its_own() {
    let ticket = |name: &str, seat: &str| {
        mapped(&json!({
            "eventTicket": {"primaryFields": [{"key": "event", "value": name}]},
            "relevantDate": "2026-12-01T20:00+01:00",
            "semantics": {"eventName": name, "venueName": "Hall", "seats": [{"seatNumber": seat, "seatRow": "C"}]},
        }))
    };
    let (first, second, other) = (ticket("Finals", "1"), ticket("Finals", "2"), ticket("Opening", "1"));
    assert_eq!(first.resource, Resource::EventTicket);
    assert_eq!(first.class_id(), second.class_id());
    assert_ne!(first.class_id(), other.class_id());
    assert_eq!(first.class["eventName"]["defaultValue"]["value"], "Finals");
    assert_eq!(first.class["dateTime"], json!({"start": "2026-12-01T20:00+01:00"}));
    assert_eq!(first.class["venue"]["name"]["defaultValue"]["value"], "Hall");
    assert_eq!(second.object["seatInfo"]["seat"]["defaultValue"]["value"], "2");
    assert!(first.object.get("textModulesData").is_none(), "the event's name stands in the class");
}

#[test]
fn a_boarding_pass_by_air_is_a_flight_if_its_tags_say_what_google_requires() {
    let content = json!({"transitType": "PKTransitTypeAir", "primaryFields": [{"key": "from", "value": "FRA"}, {"key": "to", "value": "OSL"}]});
    let tags = json!({
        "airlineCode": "LH", "flightNumber": 860, "departureAirportCode": "FRA", "destinationAirportCode": "OSL",
        "originalDepartureDate": "2026-12-01T08:05+01:00", "currentDepartureDate": "2026-12-01T08:35+01:00", "departureGate": "B42",
        "passengerName": {"givenName": "Ada", "familyName": "Lovelace"}, "confirmationNumber": "X7Y8Z9", "boardingGroup": "2",
        "seats": [{"seatNumber": "12A"}],
    });
    let made = mapped(&json!({"boardingPass": content, "semantics": tags}));
    assert_eq!(made.resource, Resource::Flight);
    assert_eq!(made.class["flightHeader"]["carrier"]["carrierIataCode"], "LH");
    assert_eq!(made.class["flightHeader"]["flightNumber"], "860");
    assert_eq!(made.class["localScheduledDepartureDateTime"], "2026-12-01T08:05:00");
    assert_eq!(made.class["localEstimatedOrActualDepartureDateTime"], "2026-12-01T08:35:00");
    assert_eq!(made.class["origin"], json!({"airportIataCode": "FRA", "gate": "B42"}));
    assert_eq!(made.object["passengerName"], "Ada Lovelace");
    assert_eq!(made.object["boardingAndSeatingInfo"], json!({"seatNumber": "12A", "boardingGroup": "2"}));
    let bare = mapped(&json!({"boardingPass": content}));
    assert_eq!(bare.resource, Resource::Generic, "without tags it is shown as it stands");
}

#[test]
fn a_train_ticket_is_a_leg_from_here_to_there() {
    let made = mapped(&json!({"boardingPass": {
        "transitType": "PKTransitTypeTrain",
        "primaryFields": [{"key": "from", "value": "Köln"}, {"key": "to", "value": "Oslo"}],
        "secondaryFields": [{"key": "class", "label": "Class", "value": "2"}],
    }}));
    assert_eq!(made.resource, Resource::Transit);
    assert_eq!(made.class["transitType"], "RAIL");
    assert_eq!(made.object["ticketLeg"]["originName"]["defaultValue"]["value"], "Köln");
    assert_eq!(made.object["textModulesData"], json!([{"id": "class", "header": "Class", "body": "2"}]));
}

#[test]
fn everything_else_is_generic() {
    let made = mapped(&json!({"generic": {"primaryFields": [{"key": "n", "label": "Name", "value": "Ada"}]}}));
    assert_eq!(made.resource, Resource::Generic);
    assert!(
        made.class.get("issuerName").is_none() && made.class.get("reviewStatus").is_none(),
        "a generic class has neither"
    );
    assert_eq!(made.object["cardTitle"]["defaultValue"]["value"], "Café");
    assert_eq!(made.object["header"]["defaultValue"]["value"], "Ada");
    assert_eq!(made.object["hexBackgroundColor"], "#1c3d5a");
    let nothing = map(&json!({"passTypeIdentifier": "p"}), &around(Languages::new("en", BTreeMap::new())));
    assert!(nothing.is_err());
}
