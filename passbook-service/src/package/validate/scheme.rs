//! Newer styles beside the old ones: poster event tickets and semantic boarding passes (`preferredStyleSchemes`), and
//! poster generic passes with their actions. Where one lacks something, phones fall back to the old style in silence, so
//! that is a warning; what no phone takes is a fault.

use serde_json::{Map, Value};

use super::{Check, is_open};
use crate::package::fault::Faults;

const SCHEMES: [(&str, &str); 4] = [
    ("posterEventTicket", "eventTicket"),
    ("eventTicket", "eventTicket"),
    ("semanticBoardingPass", "boardingPass"),
    ("boardingPass", "boardingPass"),
];
const POSTER_TAGS: [&str; 4] = ["eventName", "venueName", "venueRegionName", "venueRoom"];
const SPORTS_TAGS: [&str; 2] = ["awayTeamAbbreviation", "homeTeamAbbreviation"];
const BOARDING_TAGS: [&str; 12] = [
    "airlineCode",
    "flightNumber",
    "departureAirportCode",
    "departureCityName",
    "departureLocationTimeZone",
    "destinationAirportCode",
    "destinationCityName",
    "destinationLocationTimeZone",
    "originalArrivalDate",
    "originalBoardingDate",
    "originalDepartureDate",
    "passengerName",
];
/// Addresses that poster event tickets and semantic boarding passes show as actions.
const ADDRESSES: [&str; 29] = [
    "accessibilityURL",
    "addOnURL",
    "bagPolicyURL",
    "contactVenueWebsite",
    "directionsInformationURL",
    "merchandiseURL",
    "orderFoodURL",
    "parkingInformationURL",
    "purchaseParkingURL",
    "sellURL",
    "transferURL",
    "transitInformationURL",
    "changeSeatURL",
    "entertainmentURL",
    "managementURL",
    "purchaseAdditionalBaggageURL",
    "purchaseLoungeAccessURL",
    "purchaseWifiURL",
    "registerServiceAnimalURL",
    "reportLostBagURL",
    "requestWheelchairURL",
    "trackBagsURL",
    "transitProviderWebsiteURL",
    "upgradeURL",
    "contactVenueEmail",
    "contactVenuePhoneNumber",
    "transitProviderEmail",
    "transitProviderPhoneNumber",
    "eventLogoText",
];

impl Check {
    pub(super) fn schemes(&mut self, pass: &Map<String, Value>) {
        if let Some(found) = pass.get("preferredStyleSchemes") {
            let known = |item: &Value| item.as_str().is_some_and(|text| SCHEMES.iter().any(|(name, _)| *name == text));
            let fits = found.as_array().is_some_and(|items| !items.is_empty() && items.iter().all(known));
            let names: Vec<_> = SCHEMES.iter().map(|(name, _)| *name).collect();
            self.must("preferredStyleSchemes", found, fits, &format!("is an array of {}", names.join(", ")));
            for scheme in found.as_array().into_iter().flatten().filter_map(Value::as_str) {
                if let Some((_, style)) = SCHEMES.iter().find(|(name, _)| *name == scheme)
                    && !pass.contains_key(*style)
                {
                    let rule = format!("{scheme} needs the style {style} beside it: phones fall back to it");
                    self.faults.add("preferredStyleSchemes", scheme, rule);
                }
            }
        }
        for key in ADDRESSES {
            if let Some(found) = pass.get(key)
                && !found.is_string()
            {
                self.add(key, Some(found), "is a text");
            }
            if let Some(text) = pass.get(key).and_then(Value::as_str)
                && (key.ends_with("URL") || key.ends_with("Website"))
                && !crate::package::placeholder::is_template(text)
                && !text.contains(':')
            {
                self.add(key, pass.get(key), "is a whole address, with https:// or an app's scheme");
            }
        }
        if let Some(content) = pass.get("posterGeneric") {
            for (group, most) in [("headerFields", 1), ("primaryFields", 4), ("footerFields", 2)] {
                let count = content.get(group).and_then(Value::as_array).map_or(0, Vec::len);
                if count > most {
                    self.faults.add(
                        format!("posterGeneric.{group}"),
                        format!("{count} fields"),
                        format!("a poster shows at most {most}"),
                    );
                }
            }
        }
        let actions = self.objects(pass, "featuredActions", Some(2));
        for (place, action) in actions {
            for name in ["identifier", "type"] {
                let found = action.get(name);
                if found.and_then(Value::as_str).is_none_or(str::is_empty) {
                    self.add(&format!("{place}.{name}"), found, "is required: a text that is not empty");
                }
            }
        }
        for (place, entry) in self.objects(pass, "upcomingPassInformation", None) {
            for name in ["identifier", "name", "type"] {
                let found = entry.get(name);
                if found.and_then(Value::as_str).is_none_or(str::is_empty) {
                    self.add(&format!("{place}.{name}"), found, "is required: a text that is not empty");
                }
            }
            if let Some(Value::Object(tags)) = entry.get("semantics") {
                self.semantics(&format!("{place}.semantics"), tags);
            }
        }
    }
}

/// What keeps a newer style from being shown, in a template or a pass.
pub(in crate::package) fn warnings(pass: &Value, files: &dyn Fn(&str) -> bool, warnings: &mut Faults) {
    let schemes = pass.get("preferredStyleSchemes").and_then(Value::as_array);
    let wants = |name: &str| schemes.into_iter().flatten().any(|scheme| scheme == name);
    let tags = pass.get("semantics").and_then(Value::as_object);
    let require = |warnings: &mut Faults, style: &str, names: &[&str]| {
        for name in names.iter().filter(|name| tags.is_none_or(|tags| !tags.contains_key(**name))) {
            warnings.add(
                format!("semantics.{name}"),
                "nothing",
                format!("{style} needs it: without it phones show the older style"),
            );
        }
    };
    if wants("posterEventTicket") {
        require(warnings, "posterEventTicket", &POSTER_TAGS);
        match tags.and_then(|tags| tags.get("eventType")).and_then(Value::as_str) {
            Some("PKEventTypeSports") => require(warnings, "a sports ticket as posterEventTicket", &SPORTS_TAGS),
            Some("PKEventTypeLivePerformance") => {
                require(warnings, "a live performance as posterEventTicket", &["performerNames"])
            }
            _ => {}
        }
        if !files("artwork") && !files("background") {
            warnings.add("artwork.png", "nothing", "posterEventTicket shows it over the whole face (358 x 448 points)");
        }
        if pass.get("nfc").is_none() && pass.get("barcodes").is_some() {
            warnings.add(
                "barcodes",
                "a barcode and no nfc",
                "poster event tickets do not show barcodes: entry needs NFC",
            );
        }
    }
    if wants("semanticBoardingPass") {
        require(warnings, "semanticBoardingPass", &BOARDING_TAGS);
        let transit = pass.pointer("/boardingPass/transitType");
        if transit.is_some_and(|found| !is_open(found) && found != "PKTransitTypeAir") {
            let found = transit.map(Value::to_string).unwrap_or_default();
            warnings.add("boardingPass.transitType", found, "semanticBoardingPass is for PKTransitTypeAir alone");
        }
    }
    if pass.get("posterGeneric").is_some() && super::STYLES.iter().all(|style| pass.get(*style).is_none()) {
        warnings.add("posterGeneric", "it alone", "phones before iOS 27 take no pass without one of the older styles");
    }
    if pass.get("posterGeneric").is_some() && !files("artwork") {
        warnings.add("artwork.png", "nothing", "posterGeneric shows it over the whole face (358 x 448 points)");
    }
}
