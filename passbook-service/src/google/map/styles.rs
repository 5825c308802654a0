//! Apple's styles as Google's kinds, each with what that kind has of its own.

use serde_json::{Map, Value, json};

use super::field::Field;
use super::semantics::local_time;
use super::{Parts, Resource};

/// A style of `pass.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    StoreCard,
    Coupon,
    EventTicket,
    BoardingPass,
    Generic,
}

/// What a style makes of a pass.
pub(super) struct Made {
    pub(super) resource: Resource,
    /// What tells the class from others of the same template: the event, the flight.
    pub(super) identity: String,
    pub(super) class: Map<String, Value>,
    pub(super) object: Map<String, Value>,
    /// Keys of fields that have a place of their own and become no text module.
    pub(super) used: Vec<String>,
}

/// Fields by whose keys a holder's name is recognised.
const NAMES: [&str; 6] = ["name", "member", "memberName", "member_name", "holder", "cardholder"];

impl Style {
    /// The pass's style, and what stands under it.
    pub(super) fn of(pass: &Map<String, Value>) -> Option<(Self, &Map<String, Value>)> {
        let styles = [
            ("storeCard", Self::StoreCard),
            ("coupon", Self::Coupon),
            ("eventTicket", Self::EventTicket),
            ("boardingPass", Self::BoardingPass),
            ("generic", Self::Generic),
            ("posterGeneric", Self::Generic),
        ];
        styles.into_iter().find_map(|(key, style)| Some((style, pass.get(key)?.as_object()?)))
    }

    pub(super) fn map(self, parts: &Parts<'_>) -> Made {
        match self {
            Self::StoreCard => loyalty(parts),
            Self::Coupon => offer(parts),
            Self::EventTicket => event(parts),
            Self::BoardingPass => {
                let air = parts.content.get("transitType").and_then(Value::as_str) == Some("PKTransitTypeAir");
                let made = if air { flight(parts) } else { transit(parts) };
                made.unwrap_or_else(|| generic(parts))
            }
            Self::Generic => generic(parts),
        }
    }
}

/// Puts in what is there.
fn object(entries: Vec<(&str, Option<Value>)>) -> Map<String, Value> {
    entries.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}

/// The same as a value; `None` when nothing is there.
fn nested(entries: Vec<(&str, Option<Value>)>) -> Option<Value> {
    let made = object(entries);
    (!made.is_empty()).then(|| made.into())
}

fn loyalty(parts: &Parts<'_>) -> Made {
    let mut used = Vec::new();
    let points = parts.first("primaryFields");
    let second = parts.first("headerFields");
    let name = parts.keyed(&NAMES);
    let mut balance = |field: Option<&Field<'_>>| {
        let field = field?;
        used.push(field.key.to_owned());
        let mut made = json!({ "balance": amount(field) });
        if !field.label.is_empty() {
            made["localizedLabel"] = parts.localized(field.label);
        }
        Some(made)
    };
    let (points, second) = (balance(points), balance(second));
    // A name that is shown as a balance already is not said twice.
    let name = name.filter(|field| !used.iter().any(|key| key == field.key));
    used.extend(name.map(|field| field.key.to_owned()));
    Made {
        resource: Resource::Loyalty,
        identity: String::new(),
        class: object(vec![
            ("programName", Some(parts.around.languages.plain(parts.name()).into())),
            ("programLogo", parts.image(&["icon", "logo"])),
            ("wideProgramLogo", parts.image(&["logo"])),
            ("heroImage", parts.image(&["strip"])),
        ]),
        object: object(vec![
            ("accountId", parts.text("serialNumber").map(Value::from)),
            ("accountName", name.map(|field| field.text.clone().into())),
            ("loyaltyPoints", points),
            ("secondaryLoyaltyPoints", second),
        ]),
        used: used.into_iter().collect(),
    }
}

/// A balance as Google's `LoyaltyPointsBalance`.
fn amount(field: &Field<'_>) -> Value {
    match (field.value, field.currency) {
        (Value::Number(number), Some(currency)) => {
            // Money is told in millionths, whatever the currency.
            #[expect(clippy::cast_possible_truncation, reason = "rounded; no balance is beyond the range")]
            let micros = (number.as_f64().unwrap_or_default() * 1_000_000.0).round() as i64;
            json!({ "money": { "currencyCode": currency, "micros": micros.to_string() } })
        }
        (Value::Number(number), None) => match number.as_i64().and_then(|whole| i32::try_from(whole).ok()) {
            Some(whole) => json!({ "int": whole }),
            None => json!({ "double": number }),
        },
        _ => json!({ "string": field.text }),
    }
}

fn offer(parts: &Parts<'_>) -> Made {
    let title = parts.text("description").unwrap_or_default();
    Made {
        resource: Resource::Offer,
        identity: String::new(),
        class: object(vec![
            ("provider", Some(parts.around.languages.plain(parts.name()).into())),
            ("title", Some(parts.around.languages.plain(title).into())),
            ("localizedTitle", Some(parts.localized(title))),
            ("redemptionChannel", Some("BOTH".into())),
            ("titleImage", parts.image(&["icon", "logo"])),
            ("wideTitleImage", parts.image(&["logo"])),
            ("heroImage", parts.image(&["strip"])),
        ]),
        object: Map::new(),
        used: Vec::new(),
    }
}

fn event(parts: &Parts<'_>) -> Made {
    let semantics = parts.semantics;
    let first = parts.first("primaryFields");
    let name = semantics
        .text("eventName")
        .or_else(|| first.map(|field| field.text.clone()))
        .or_else(|| parts.text("description").map(str::to_owned))
        .unwrap_or_default();
    let venue = semantics.text("venueName");
    let address = semantics.first(&["venueAddress", "venueRegionName"]).or_else(|| venue.clone());
    let first_date = || parts.pass.get("relevantDates")?.as_array()?.first()?.as_object();
    let start = semantics
        .text("eventStartDate")
        .or_else(|| parts.text("relevantDate").map(str::to_owned))
        .or_else(|| Some(first_date()?.get("startDate").or_else(|| first_date()?.get("date"))?.as_str()?.to_owned()));
    let text = |text: Option<String>| text.map(Value::from);
    let localized = |text: Option<String>| text.map(|text| parts.localized(&text));
    let used = first.filter(|field| field.text == name).map(|field| field.key.to_owned());
    Made {
        resource: Resource::EventTicket,
        identity: format!("{name}\n{}", venue.clone().unwrap_or_default()),
        class: object(vec![
            ("eventName", Some(parts.localized(&name))),
            ("venue", venue.map(|venue| json!({ "name": parts.localized(&venue), "address": parts.localized(&address.unwrap_or_default()) }))),
            (
                "dateTime",
                nested(vec![
                    ("doorsOpen", text(semantics.first(&["venueDoorsOpenDate", "venueOpenDate"]))),
                    ("start", text(start)),
                    ("end", text(semantics.text("eventEndDate"))),
                ]),
            ),
            ("logo", parts.image(&["icon", "logo"])),
            ("wideLogo", parts.image(&["logo"])),
            ("heroImage", parts.image(&["strip", "background"])),
        ]),
        object: object(vec![
            (
                "seatInfo",
                nested(vec![
                    ("seat", localized(semantics.seat("seatNumber"))),
                    ("row", localized(semantics.seat("seatRow"))),
                    ("section", localized(semantics.seat("seatSection"))),
                    ("gate", localized(semantics.first(&["venueEntranceGate", "venueEntrance", "entranceDescription"]))),
                ]),
            ),
            ("ticketHolderName", text(semantics.person("attendeeName"))),
            ("reservationInfo", semantics.text("confirmationNumber").map(|code| json!({ "confirmationCode": code }))),
        ]),
        used: used.into_iter().collect(),
    }
}

/// `None`: the semantic tags lack something that Google requires of a flight.
fn flight(parts: &Parts<'_>) -> Option<Made> {
    let semantics = parts.semantics;
    let carrier = semantics.text("airlineCode")?;
    let number = semantics.text("flightNumber").or_else(|| {
        let code = semantics.text("flightCode")?;
        Some(code.strip_prefix(&carrier)?.trim().to_owned())
    })?;
    let (from, to) = (semantics.text("departureAirportCode")?, semantics.text("destinationAirportCode")?);
    let scheduled = semantics.first(&["originalDepartureDate", "currentDepartureDate"])?;
    let scheduled = local_time(&scheduled)?;
    let passenger = semantics.person("passengerName")?;
    let time = |name: &str| semantics.text(name).and_then(|text| local_time(&text)).map(Value::from);
    let text = |name: &str| semantics.text(name).map(Value::from);
    let airport = |code: String, side: &str| {
        nested(vec![
            ("airportIataCode", Some(code.into())),
            ("terminal", text(&format!("{side}Terminal"))),
            ("gate", text(&format!("{side}Gate"))),
        ])
    };
    Some(Made {
        resource: Resource::Flight,
        identity: format!("{carrier}{number} {scheduled}"),
        class: object(vec![
            (
                "flightHeader",
                Some(json!({
                    "carrier": object(vec![
                        ("carrierIataCode", Some(carrier.into())),
                        ("airlineName", Some(parts.localized(parts.text("organizationName").unwrap_or_default()))),
                        ("airlineLogo", parts.image(&["icon", "logo"])),
                    ]),
                    "flightNumber": number,
                })),
            ),
            ("origin", airport(from, "departure")),
            ("destination", airport(to, "destination")),
            ("localScheduledDepartureDateTime", Some(scheduled.clone().into())),
            ("localEstimatedOrActualDepartureDateTime", time("currentDepartureDate").filter(|now| *now != scheduled)),
            ("localBoardingDateTime", time("currentBoardingDate").or_else(|| time("originalBoardingDate"))),
            ("localScheduledArrivalDateTime", time("originalArrivalDate").or_else(|| time("currentArrivalDate"))),
            ("heroImage", parts.image(&["footer"])),
        ]),
        object: object(vec![
            ("passengerName", Some(passenger.into())),
            (
                "reservationInfo",
                // Required; a pass without a code is found by its serial number.
                Some(
                    json!({ "confirmationCode": semantics.text("confirmationNumber").or_else(|| parts.text("serialNumber").map(str::to_owned)) }),
                ),
            ),
            (
                "boardingAndSeatingInfo",
                nested(vec![
                    ("seatNumber", semantics.seat("seatNumber").map(Value::from)),
                    (
                        "seatClass",
                        semantics.seat("seatType").or_else(|| semantics.text("ticketFareClass")).map(Value::from),
                    ),
                    ("boardingGroup", text("boardingGroup")),
                    ("boardingPosition", text("boardingSequenceNumber")),
                ]),
            ),
            ("hexBackgroundColor", parts.colour().map(Value::from)),
        ]),
        used: Vec::new(),
    })
}

/// `None`: there is neither a place to leave from nor one to go to.
fn transit(parts: &Parts<'_>) -> Option<Made> {
    let semantics = parts.semantics;
    let kind = match parts.content.get("transitType").and_then(Value::as_str) {
        Some("PKTransitTypeTrain") => "RAIL",
        Some("PKTransitTypeBus") => "BUS",
        Some("PKTransitTypeBoat") => "FERRY",
        _ => "OTHER",
    };
    let primary: Vec<&Field<'_>> = parts.fields.iter().filter(|field| field.group == "primaryFields").collect();
    let place = |names: &[&str], position: usize| {
        semantics.first(names).or_else(|| primary.get(position).map(|field| field.text.clone()))
    };
    let from = place(&["departureStationName", "departureLocationDescription"], 0)?;
    let to = place(&["destinationStationName", "destinationLocationDescription"], 1)?;
    let text = |text: Option<String>| text.map(Value::from);
    let shown = |wanted: &str, position: usize| {
        primary.get(position).filter(|field| field.text == wanted).map(|field| field.key.to_owned())
    };
    let used = shown(&from, 0).into_iter().chain(shown(&to, 1)).collect();
    Some(Made {
        resource: Resource::Transit,
        identity: String::new(),
        class: object(vec![
            ("transitType", Some(kind.into())),
            ("logo", parts.image(&["icon", "logo"])),
            ("wideLogo", parts.image(&["logo"])),
            ("transitOperatorName", semantics.text("transitProvider").map(|name| parts.localized(&name))),
        ]),
        object: object(vec![
            ("tripType", Some("ONE_WAY".into())),
            ("passengerType", Some("SINGLE_PASSENGER".into())),
            ("passengerNames", text(semantics.person("passengerName"))),
            ("purchaseDetails", semantics.text("confirmationNumber").map(|code| json!({ "confirmationCode": code }))),
            (
                "ticketLeg",
                nested(vec![
                    ("originName", Some(parts.localized(&from))),
                    ("destinationName", Some(parts.localized(&to))),
                    ("departureDateTime", text(semantics.first(&["currentDepartureDate", "originalDepartureDate"]))),
                    ("arrivalDateTime", text(semantics.first(&["currentArrivalDate", "originalArrivalDate"]))),
                    ("platform", text(semantics.text("departurePlatform"))),
                    ("carriage", text(semantics.text("carNumber"))),
                    (
                        "ticketSeat",
                        nested(vec![
                            ("coach", text(semantics.seat("seatSection"))),
                            ("seat", text(semantics.seat("seatNumber"))),
                        ]),
                    ),
                ]),
            ),
            ("hexBackgroundColor", parts.colour().map(Value::from)),
        ]),
        used,
    })
}

fn generic(parts: &Parts<'_>) -> Made {
    let first = parts.first("primaryFields");
    let header = first.map_or_else(|| parts.text("description").unwrap_or_default(), |field| field.text.as_str());
    let subheader = first.map(|field| field.label).filter(|label| !label.is_empty());
    Made {
        resource: Resource::Generic,
        identity: String::new(),
        class: Map::new(),
        object: object(vec![
            ("cardTitle", Some(parts.localized(parts.name()))),
            ("subheader", subheader.map(|label| parts.localized(label))),
            ("header", Some(parts.localized(header))),
            ("logo", parts.image(&["icon", "logo"])),
            ("wideLogo", parts.image(&["logo"])),
            ("heroImage", parts.image(&["strip", "thumbnail"])),
            ("hexBackgroundColor", parts.colour().map(Value::from)),
        ]),
        used: first.map(|field| field.key.to_owned()).into_iter().collect(),
    }
}
