//! What Google requires of classes, objects and messages, and the keys that it knows.

use serde_json::Value;

use super::error::WalletError;

const CLASS: [&str; 22] = [
    "id",
    "issuerName",
    "localizedIssuerName",
    "messages",
    "homepageUri",
    "reviewStatus",
    "imageModulesData",
    "textModulesData",
    "linksModuleData",
    "redemptionIssuers",
    "countryCode",
    "heroImage",
    "enableSmartTap",
    "hexBackgroundColor",
    "multipleDevicesAndHoldersAllowedStatus",
    "callbackOptions",
    "securityAnimation",
    "viewUnlockRequirement",
    "classTemplateInfo",
    "appLinkData",
    "merchantLocations",
    "notifyPreference",
];
const OBJECT: [&str; 20] = [
    "id",
    "classId",
    "state",
    "barcode",
    "rotatingBarcode",
    "messages",
    "validTimeInterval",
    "hasUsers",
    "smartTapRedemptionValue",
    "disableExpirationNotification",
    "imageModulesData",
    "textModulesData",
    "linksModuleData",
    "appLinkData",
    "heroImage",
    "groupingInfo",
    "passConstraints",
    "saveRestrictions",
    "linkedObjectIds",
    "merchantLocations",
];
const STATES: [&str; 4] = ["ACTIVE", "COMPLETED", "EXPIRED", "INACTIVE"];
const BARCODES: [&str; 12] = [
    "AZTEC",
    "CODE_39",
    "CODE_128",
    "CODABAR",
    "DATA_MATRIX",
    "EAN_8",
    "EAN_13",
    "ITF_14",
    "PDF_417",
    "QR_CODE",
    "UPC_A",
    "TEXT_ONLY",
];
const MESSAGE: [&str; 7] =
    ["id", "header", "body", "displayInterval", "messageType", "localizedHeader", "localizedBody"];

/// Keys of a kind's class beyond the common ones, and those that are required (paths with dots).
fn class_keys(kind: &str) -> (&'static [&'static str], &'static [&'static str]) {
    match kind {
        "loyalty" => (
            &[
                "programName",
                "localizedProgramName",
                "programLogo",
                "wideProgramLogo",
                "accountNameLabel",
                "accountIdLabel",
                "rewardsTier",
                "rewardsTierLabel",
            ],
            &["issuerName", "reviewStatus", "programName", "programLogo"],
        ),
        "offer" => (
            &[
                "title",
                "localizedTitle",
                "provider",
                "redemptionChannel",
                "titleImage",
                "wideTitleImage",
                "details",
                "finePrint",
            ],
            &["issuerName", "reviewStatus", "title", "provider", "redemptionChannel"],
        ),
        "eventTicket" => (
            &["eventName", "eventId", "logo", "wideLogo", "venue", "dateTime", "finePrint"],
            &["issuerName", "reviewStatus", "eventName.defaultValue.value"],
        ),
        "flight" => (
            &[
                "flightHeader",
                "origin",
                "destination",
                "flightStatus",
                "localScheduledDepartureDateTime",
                "localEstimatedOrActualDepartureDateTime",
                "localBoardingDateTime",
                "localScheduledArrivalDateTime",
                "localEstimatedOrActualArrivalDateTime",
                "localGateClosingDateTime",
            ],
            &[
                "issuerName",
                "reviewStatus",
                "flightHeader.flightNumber",
                "flightHeader.carrier",
                "origin.airportIataCode",
                "destination.airportIataCode",
                "localScheduledDepartureDateTime",
            ],
        ),
        "transit" => (
            &["transitType", "transitOperatorName", "logo", "wideLogo", "watermark"],
            &["issuerName", "reviewStatus", "transitType", "logo"],
        ),
        _ => (&[], &[]),
    }
}

/// The same of its object.
fn object_keys(kind: &str) -> (&'static [&'static str], &'static [&'static str]) {
    match kind {
        "loyalty" => (&["accountName", "accountId", "loyaltyPoints", "secondaryLoyaltyPoints", "linkedOfferIds"], &[]),
        "eventTicket" => (
            &[
                "seatInfo",
                "reservationInfo",
                "ticketHolderName",
                "ticketNumber",
                "ticketType",
                "faceValue",
                "hexBackgroundColor",
            ],
            &[],
        ),
        "flight" => (
            &["passengerName", "boardingAndSeatingInfo", "reservationInfo", "hexBackgroundColor"],
            &["passengerName", "reservationInfo"],
        ),
        "transit" => (
            &[
                "ticketNumber",
                "passengerType",
                "passengerNames",
                "tripId",
                "ticketStatus",
                "purchaseDetails",
                "ticketLeg",
                "ticketLegs",
                "tripType",
                "hexBackgroundColor",
            ],
            &["tripType"],
        ),
        "generic" => (
            &[
                "genericType",
                "cardTitle",
                "subheader",
                "header",
                "logo",
                "wideLogo",
                "hexBackgroundColor",
                "notifications",
            ],
            &["cardTitle.defaultValue.value", "header.defaultValue.value"],
        ),
        _ => (&[], &[]),
    }
}

/// Whether a class may be as it is.
pub(super) fn class(kind: &str, class: &Value) -> Result<(), WalletError> {
    let (own, required) = class_keys(kind);
    common(class, &CLASS, own, required)?;
    one_of(class, "/reviewStatus", &["UNDER_REVIEW", "DRAFT", "APPROVED", "REJECTED"])?;
    if let Some(time) = class["localScheduledDepartureDateTime"].as_str()
        && !(time.len() == 19 && time.is_ascii())
    {
        return Err(WalletError::invalid("localScheduledDepartureDateTime must be a local time without an offset"));
    }
    Ok(())
}

/// Whether an object may be as it is.
pub(super) fn object(kind: &str, object: &Value) -> Result<(), WalletError> {
    let (own, required) = object_keys(kind);
    common(object, &OBJECT, own, required)?;
    if object["state"].as_str().is_none() {
        return Err(WalletError::invalid("state is required"));
    }
    one_of(object, "/state", &STATES)?;
    one_of(object, "/barcode/type", &BARCODES)?;
    if object.get("barcode").is_some() && object["barcode"]["value"].as_str().is_none_or(str::is_empty) {
        return Err(WalletError::invalid("barcode.value is required"));
    }
    let mut modules: Vec<&str> =
        object["textModulesData"].as_array().into_iter().flatten().filter_map(|module| module["id"].as_str()).collect();
    let count = modules.len();
    modules.sort_unstable();
    modules.dedup();
    if modules.len() < count {
        return Err(WalletError::invalid("textModulesData: ids must differ"));
    }
    Ok(())
}

/// Whether a message may be as it is.
pub(super) fn message(message: &Value) -> Result<(), WalletError> {
    let Some(entries) = message.as_object() else { return Err(WalletError::invalid("message is required")) };
    if let Some(key) = entries.keys().find(|key| !MESSAGE.contains(&key.as_str())) {
        return Err(unknown(key));
    }
    for key in ["header", "body"] {
        if message[key].as_str().is_none_or(str::is_empty) {
            return Err(WalletError::invalid(&format!("message.{key} is required")));
        }
    }
    one_of(message, "/messageType", &["TEXT", "TEXT_AND_NOTIFY", "EXPIRATION_NOTIFICATION"])
}

fn common(value: &Value, common: &[&str], own: &[&str], required: &[&str]) -> Result<(), WalletError> {
    let Some(entries) = value.as_object() else { return Err(WalletError::invalid("a JSON object is expected")) };
    if let Some(key) = entries.keys().find(|key| !common.contains(&key.as_str()) && !own.contains(&key.as_str())) {
        return Err(unknown(key));
    }
    let id = value["id"].as_str().unwrap_or_default();
    let fits = id.split_once('.').is_some_and(|(issuer, suffix)| {
        !issuer.is_empty()
            && issuer.bytes().all(|byte| byte.is_ascii_digit())
            && !suffix.is_empty()
            && suffix.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
    });
    if !fits {
        return Err(WalletError::invalid(&format!("Invalid resource ID: {id}. It has the form issuerID.identifier")));
    }
    for path in required {
        let pointer = format!("/{}", path.replace('.', "/"));
        let there = value.pointer(&pointer).is_some_and(|found| !found.is_null() && found.as_str() != Some(""));
        if !there {
            return Err(WalletError::invalid(&format!("{path} is required")));
        }
    }
    if let Some(colour) = value.get("hexBackgroundColor") {
        let fits = colour
            .as_str()
            .and_then(|text| text.strip_prefix('#'))
            .is_some_and(|digits| digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if !fits {
            return Err(WalletError::invalid("hexBackgroundColor has the form #rrggbb"));
        }
    }
    images(value)
}

/// Every image has an address.
fn images(value: &Value) -> Result<(), WalletError> {
    match value {
        Value::Object(entries) => {
            if let Some(source) = entries.get("sourceUri")
                && !source["uri"].as_str().is_some_and(|uri| uri.starts_with("https://") || uri.starts_with("http://"))
            {
                return Err(WalletError::invalid("sourceUri.uri is no address of an image"));
            }
            entries.values().try_for_each(images)
        }
        Value::Array(items) => items.iter().try_for_each(images),
        _ => Ok(()),
    }
}

fn one_of(value: &Value, pointer: &str, allowed: &[&str]) -> Result<(), WalletError> {
    match value.pointer(pointer) {
        Some(found) if !found.as_str().is_some_and(|text| allowed.contains(&text)) => Err(WalletError::invalid(
            &format!("Invalid value at '{}' (TYPE_ENUM), {found}", pointer.trim_start_matches('/').replace('/', ".")),
        )),
        _ => Ok(()),
    }
}

fn unknown(key: &str) -> WalletError {
    WalletError::invalid(&format!("Invalid JSON payload received. Unknown name \"{key}\": Cannot find field."))
}
