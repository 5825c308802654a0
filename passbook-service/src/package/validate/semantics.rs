//! Semantic tags: what kind each known one is (Apple's `SemanticTags`). Tags that nobody here knows yet are kept as they
//! are.

use serde_json::{Map, Value};

use super::{Check, is_open, value};
use crate::package::placeholder::join;

/// What a tag's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tag {
    Text,
    Texts,
    Number,
    Flag,
    Date,
    /// `latitude` and `longitude`.
    Place,
    /// `amount` and `currencyCode`.
    Money,
    Object,
    Objects,
    OneOf(&'static [&'static str]),
    AllOf(&'static [&'static str]),
}

const EVENT_TYPES: &[&str] = &[
    "PKEventTypeGeneric",
    "PKEventTypeLivePerformance",
    "PKEventTypeMovie",
    "PKEventTypeSports",
    "PKEventTypeConference",
    "PKEventTypeConvention",
    "PKEventTypeWorkshop",
    "PKEventTypeSocialGathering",
];
const CAPABILITIES: &[&str] = &[
    "PKPassengerCapabilityPreboarding",
    "PKPassengerCapabilityPriorityBoarding",
    "PKPassengerCapabilityCarryon",
    "PKPassengerCapabilityPersonalItem",
    "PKPassengerCapabilityLapInfant",
];
const PROGRAMS: &[&str] = &[
    "PKTransitSecurityProgramTSAPreCheck",
    "PKTransitSecurityProgramTSAPreCheckTouchlessID",
    "PKTransitSecurityProgramOSS",
    "PKTransitSecurityProgramITI",
    "PKTransitSecurityProgramITD",
    "PKTransitSecurityProgramGlobalEntry",
    "PKTransitSecurityProgramCLEAR",
];

/// Tags that are texts: by far the most.
const TEXTS: &str = "additionalTicketAttributes admissionLevel admissionLevelAbbreviation airlineCode attendeeName \
    awayTeamAbbreviation awayTeamLocation awayTeamName boardingGroup boardingSequenceNumber boardingZone carNumber \
    confirmationNumber departureAirportCode departureAirportName departureLocationTimeZone departureCityName departureGate \
    departureLocationDescription departurePlatform departureStationName departureTerminal destinationAirportCode \
    destinationAirportName destinationLocationTimeZone destinationCityName destinationGate destinationLocationDescription \
    destinationPlatform destinationStationName destinationTerminal entranceDescription eventLiveMessage eventName flightCode \
    genre homeTeamAbbreviation homeTeamLocation homeTeamName internationalDocumentsVerifiedDeclarationName leagueAbbreviation \
    leagueName membershipProgramName membershipProgramNumber membershipProgramStatus priorityStatus securityScreening \
    sportName ticketFareClass transitProvider transitStatus transitStatusReason vehicleName vehicleNumber vehicleType \
    venueEntrance venueEntranceDescription venueEntranceDoor venueEntranceGate venueEntrancePortal venueName \
    venuePhoneNumber venuePlaceID venueRegionName venueRoom";
const DATES: &str = "currentArrivalDate currentBoardingDate currentDepartureDate eventEndDate eventStartDate \
    originalArrivalDate originalBoardingDate originalDepartureDate venueBoxOfficeOpenDate venueCloseDate venueDoorsOpenDate \
    venueFanZoneOpenDate venueGatesOpenDate venueOpenDate venueParkingLotsOpenDate";

fn tag(name: &str) -> Option<Tag> {
    let among = |list: &str| list.split_whitespace().any(|known| known == name);
    Some(match name {
        "albumIDs"
        | "artistIDs"
        | "playlistIDs"
        | "performerNames"
        | "loungePlaceIDs"
        | "passengerAirlineSSRs"
        | "passengerInformationSSRs"
        | "passengerServiceSSRs" => Tag::Texts,
        "duration" | "flightNumber" => Tag::Number,
        "silenceRequested" | "tailgatingAllowed" | "internationalDocumentsAreVerified" => Tag::Flag,
        "departureLocation" | "destinationLocation" | "venueLocation" => Tag::Place,
        "balance" | "totalPrice" => Tag::Money,
        "passengerName" | "eventStartDateInfo" => Tag::Object,
        "seats" | "wifiAccess" | "airplay" => Tag::Objects,
        "eventType" => Tag::OneOf(EVENT_TYPES),
        "passengerCapabilities" => Tag::AllOf(CAPABILITIES),
        "departureLocationSecurityPrograms"
        | "destinationLocationSecurityPrograms"
        | "passengerEligibleSecurityPrograms" => Tag::AllOf(PROGRAMS),
        _ if among(TEXTS) => Tag::Text,
        _ if among(DATES) => Tag::Date,
        _ => return None,
    })
}

impl Check {
    /// Checks the tags of a pass or of one of its fields.
    pub(super) fn semantics(&mut self, place: &str, tags: &Map<String, Value>) {
        for (name, found) in tags {
            let Some(tag) = tag(name).filter(|_| !is_open(found)) else { continue };
            let place = join(place, name);
            match tag {
                Tag::Text => self.must(&place, found, found.is_string(), "is a text"),
                Tag::Texts => {
                    let fits = found.as_array().is_some_and(|items| items.iter().all(Value::is_string));
                    self.must(&place, found, fits, "is an array of texts");
                }
                Tag::Number => self.must(&place, found, found.is_number(), "is a number"),
                Tag::Flag => self.must(&place, found, found.is_boolean(), "is true or false"),
                Tag::Date => self.must(&place, found, found.as_str().is_some_and(value::is_date), value::DATE_RULE),
                Tag::Place => self.place(&place, found),
                Tag::Money => {
                    let part = |key: &str| found.get(key).is_some_and(|part| is_open(part) || !part.is_null());
                    let fits = found.is_object() && part("amount") && part("currencyCode");
                    self.must(&place, found, fits, "is an object with `amount` (a text) and `currencyCode` (ISO 4217)");
                }
                Tag::Object => self.must(&place, found, found.is_object(), "is an object"),
                Tag::Objects => {
                    let fits = found.as_array().is_some_and(|items| items.iter().all(Value::is_object));
                    self.must(&place, found, fits, "is an array of objects");
                }
                Tag::OneOf(allowed) => {
                    let fits = found.as_str().is_some_and(|text| allowed.contains(&text));
                    self.must(&place, found, fits, &format!("is one of {}", allowed.join(", ")));
                }
                Tag::AllOf(allowed) => {
                    let known =
                        |item: &Value| is_open(item) || item.as_str().is_some_and(|text| allowed.contains(&text));
                    let fits = found.as_array().is_some_and(|items| items.iter().all(known));
                    self.must(&place, found, fits, &format!("is an array of {}", allowed.join(", ")));
                }
            }
        }
    }

    fn place(&mut self, place: &str, found: &Value) {
        for (name, limit) in [("latitude", 90.0), ("longitude", 180.0)] {
            let fits = |degrees: &Value| is_open(degrees) || degrees.as_f64().is_some_and(|value| value.abs() <= limit);
            let fits = found.get(name).is_some_and(fits);
            self.must(&join(place, name), found, fits, &format!("is a number from -{limit} to {limit}"));
        }
    }

    pub(super) fn must(&mut self, place: &str, found: &Value, fits: bool, rule: &str) {
        if !fits {
            self.add(place, Some(found), rule);
        }
    }
}
