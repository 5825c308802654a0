//! Apple's rules for `order.json`, checked before anything is signed: Wallet refuses a wrong order without a word. Keys that
//! nobody here knows are kept as they are.

use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::package::{Faults, Rules};

const STATUSES: [&str; 3] = ["open", "completed", "cancelled"];
const SHIPPING: [&str; 8] =
    ["open", "processing", "onTheWay", "outForDelivery", "delivered", "shipped", "issue", "cancelled"];
const PICKUP: [&str; 6] = ["open", "processing", "readyForPickup", "pickedUp", "issue", "cancelled"];
const PAYMENT: [&str; 6] = ["pending", "authorized", "paid", "refunded", "declined", "voided"];
const BARCODES: [&str; 4] = ["qr", "pdf417", "aztec", "code128"];

/// Checks a complete `order.json`; `image` says whether the package has one of that name.
///
/// # Errors
/// Every broken rule with its key and value.
pub(super) fn order(order: &Value, rules: Rules, image: &dyn Fn(&str) -> bool) -> Result<(), Faults> {
    let mut check = Check { faults: Faults::default(), image };
    match order.as_object() {
        Some(order) => check.order(order, rules),
        None => check.faults.add("order.json", order, "the file holds one JSON object"),
    }
    check.faults.into_result()
}

struct Check<'a> {
    faults: Faults,
    image: &'a dyn Fn(&str) -> bool,
}

type Object = Map<String, Value>;

impl Check<'_> {
    fn order(&mut self, order: &Object, rules: Rules) {
        if order.get("schemaVersion").and_then(Value::as_i64) != Some(1) {
            self.add("schemaVersion", order.get("schemaVersion"), "must be the number 1");
        }
        self.one_of(order, "", "orderType", &["ecommerce"], true);
        self.one_of(order, "", "status", &STATUSES, true);
        self.one_of(order, "", "changeNotifications", &["enabled", "disabledIfAppInstalled"], false);
        for key in ["orderIdentifier", "orderTypeIdentifier"] {
            self.text(order, "", key, true);
        }
        for key in ["orderNumber", "statusDescription"] {
            self.text(order, "", key, false);
        }
        self.url(order, "", "orderManagementURL", true);
        for key in ["createdAt", "updatedAt"] {
            self.date(order, "", key, true);
        }
        let url = order.get("webServiceURL").and_then(Value::as_str).unwrap_or_default();
        if !(url.starts_with("https://") || rules.allow_http && url.starts_with("http://")) {
            self.add("webServiceURL", order.get("webServiceURL"), "must be an https:// address");
        }
        match order.get("merchant").and_then(Value::as_object) {
            Some(merchant) => self.merchant(merchant),
            None => self.add(
                "merchant",
                order.get("merchant"),
                "is required: an object with displayName, merchantIdentifier and url",
            ),
        }
        self.line_items(order, "");
        self.barcode(order, "");
        for (place, fulfillment) in self.objects(order, "", "fulfillments") {
            self.fulfillment(&place, &fulfillment);
        }
        if let Some(payment) = order.get("payment") {
            match payment.as_object() {
                Some(payment) => self.payment(payment),
                None => self.add("payment", Some(payment), "is an object with total and status"),
            }
        }
    }

    fn merchant(&mut self, merchant: &Object) {
        for key in ["displayName", "merchantIdentifier"] {
            self.text(merchant, "merchant", key, true);
        }
        self.url(merchant, "merchant", "url", true);
        for key in ["businessChatURL", "contactURL"] {
            self.url(merchant, "merchant", key, false);
        }
        for key in ["emailAddress", "phoneNumber"] {
            self.text(merchant, "merchant", key, false);
        }
        self.image(merchant, "merchant", "logo");
    }

    fn line_items(&mut self, parent: &Object, at: &str) {
        for (place, item) in self.objects(parent, at, "lineItems") {
            self.text(&item, &place, "title", true);
            for key in ["subtitle", "gtin", "sku"] {
                self.text(&item, &place, key, false);
            }
            if !item.get("quantity").is_some_and(Value::is_number) {
                self.add(&join(&place, "quantity"), item.get("quantity"), "is required: a number");
            }
            self.amount(&item, &place, "price", false);
            self.image(&item, &place, "image");
        }
    }

    fn fulfillment(&mut self, place: &str, fulfillment: &Object) {
        self.text(fulfillment, place, "fulfillmentIdentifier", true);
        self.line_items(fulfillment, place);
        self.one_of(fulfillment, place, "fulfillmentType", &["shipping", "pickup"], true);
        for key in ["notes", "statusDescription"] {
            self.text(fulfillment, place, key, false);
        }
        match fulfillment.get("fulfillmentType").and_then(Value::as_str) {
            Some("shipping") => {
                self.one_of(fulfillment, place, "status", &SHIPPING, true);
                self.one_of(fulfillment, place, "shippingType", &["shipping", "delivery"], false);
                for key in ["deliveredAt", "estimatedDeliveryAt", "shippedAt"] {
                    self.date(fulfillment, place, key, false);
                }
                for key in ["carrier", "trackingNumber"] {
                    self.text(fulfillment, place, key, false);
                }
                self.duration(fulfillment, place, "estimatedDeliveryWindowDuration");
                self.url(fulfillment, place, "trackingURL", false);
            }
            Some("pickup") => {
                self.one_of(fulfillment, place, "status", &PICKUP, true);
                self.text(fulfillment, place, "displayName", true);
                for key in ["pickedUpAt", "pickupAt"] {
                    self.date(fulfillment, place, key, false);
                }
                self.duration(fulfillment, place, "pickupWindowDuration");
                self.barcode(fulfillment, place);
            }
            _ => {}
        }
    }

    fn payment(&mut self, payment: &Object) {
        self.amount(payment, "payment", "total", true);
        self.one_of(payment, "payment", "status", &PAYMENT, true);
        for (place, item) in self.objects(payment, "payment", "summaryItems") {
            self.text(&item, &place, "label", true);
            self.amount(&item, &place, "value", true);
        }
    }

    fn barcode(&mut self, parent: &Object, at: &str) {
        let Some(found) = parent.get("barcode") else { return };
        let place = join(at, "barcode");
        match found.as_object() {
            Some(barcode) => {
                self.one_of(barcode, &place, "format", &BARCODES, true);
                for key in ["message", "messageEncoding"] {
                    self.text(barcode, &place, key, true);
                }
            }
            None => self.add(&place, Some(found), "is an object with format, message and messageEncoding"),
        }
    }

    fn amount(&mut self, parent: &Object, at: &str, key: &str, required: bool) {
        let place = join(at, key);
        match parent.get(key) {
            None if !required => {}
            Some(found) if is_amount(found) => {}
            found => {
                self.add(&place, found, "is an amount: {\"amount\": 12.5, \"currency\": \"EUR\"} with an ISO 4217 code")
            }
        }
    }

    fn image(&mut self, parent: &Object, at: &str, key: &str) {
        if let Some(found) = parent.get(key)
            && !found.as_str().is_some_and(|name| (self.image)(name))
        {
            self.add(&join(at, key), Some(found), "is the name of an image in the template's folder");
        }
    }

    fn text(&mut self, parent: &Object, at: &str, key: &str, required: bool) {
        match parent.get(key) {
            Some(Value::String(text)) if !text.trim().is_empty() => {}
            None if !required => {}
            found => self.add(&join(at, key), found, "is a text that is not empty"),
        }
    }

    fn url(&mut self, parent: &Object, at: &str, key: &str, required: bool) {
        let fits = |text: &str| text.split_once(':').is_some_and(|(scheme, rest)| !scheme.is_empty() && rest.len() > 2);
        match parent.get(key) {
            Some(Value::String(text)) if fits(text) => {}
            None if !required => {}
            found => self.add(&join(at, key), found, "is an address such as https://shop.example.org/orders/1"),
        }
    }

    fn date(&mut self, parent: &Object, at: &str, key: &str, required: bool) {
        match parent.get(key) {
            Some(Value::String(text)) if OffsetDateTime::parse(text, &Rfc3339).is_ok() => {}
            None if !required => {}
            found => self.add(&join(at, key), found, "is a date of RFC 3339 such as 2026-04-30T18:05:00+02:00"),
        }
    }

    fn duration(&mut self, parent: &Object, at: &str, key: &str) {
        let fits =
            |text: &str| text.len() > 2 && text.starts_with('P') && text.ends_with(|c: char| c.is_ascii_uppercase());
        if let Some(found) = parent.get(key)
            && !found.as_str().is_some_and(fits)
        {
            self.add(&join(at, key), Some(found), "is a duration of ISO 8601 such as PT2H");
        }
    }

    fn one_of(&mut self, parent: &Object, at: &str, key: &str, allowed: &[&str], required: bool) {
        match parent.get(key) {
            None if !required => {}
            Some(Value::String(text)) if allowed.contains(&text.as_str()) => {}
            found => self.add(&join(at, key), found, &format!("is one of {}", allowed.join(", "))),
        }
    }

    /// The objects of an array, with their places; anything else in it is noted.
    fn objects(&mut self, parent: &Object, at: &str, key: &str) -> Vec<(String, Object)> {
        let place = join(at, key);
        let Some(found) = parent.get(key) else { return Vec::new() };
        let Value::Array(items) = found else {
            self.add(&place, Some(found), "is an array of objects");
            return Vec::new();
        };
        let mut objects = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let place = format!("{place}[{index}]");
            match item {
                Value::Object(item) => objects.push((place, item.clone())),
                other => self.add(&place, Some(other), "is an object"),
            }
        }
        objects
    }

    fn add(&mut self, key: &str, found: Option<&Value>, rule: &str) {
        match found {
            Some(found) => self.faults.add(key, found, rule),
            None => self.faults.add(key, "nothing", rule),
        }
    }
}

fn is_amount(value: &Value) -> bool {
    let currency = value.get("currency").and_then(Value::as_str).unwrap_or_default();
    let number = |amount: &Value| amount.is_number() || amount.as_str().is_some_and(|text| text.parse::<f64>().is_ok());
    value.get("amount").is_some_and(number) && currency.len() == 3 && currency.bytes().all(|b| b.is_ascii_uppercase())
}

fn join(at: &str, key: &str) -> String {
    if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn good() -> Value {
        json!({
            "schemaVersion": 1, "orderTypeIdentifier": "order.org.example", "orderIdentifier": "1", "orderType": "ecommerce",
            "status": "open", "createdAt": "2026-04-30T18:05:00Z", "updatedAt": "2026-04-30T18:05:00Z",
            "orderManagementURL": "https://shop.example.org/1", "webServiceURL": "https://wallet.example.org",
            "merchant": {"displayName": "Shop", "merchantIdentifier": "merchant.org.example", "url": "https://shop.example.org", "logo": "logo.png"},
            "lineItems": [{"title": "Tea", "quantity": 2, "price": {"amount": 12.5, "currency": "EUR"}}],
            "fulfillments": [
                {"fulfillmentType": "shipping", "fulfillmentIdentifier": "f1", "status": "onTheWay", "estimatedDeliveryWindowDuration": "PT2H"},
                {"fulfillmentType": "pickup", "fulfillmentIdentifier": "f2", "status": "readyForPickup", "displayName": "Mall"},
            ],
            "payment": {"total": {"amount": 12.5, "currency": "EUR"}, "status": "paid"},
            "somethingNew": true,
        })
    }

    fn faults(order: &Value) -> Vec<String> {
        let found = super::order(order, Rules::default(), &|name| name == "logo.png");
        found.err().map(|faults| faults.list().iter().map(|fault| fault.key.clone()).collect()).unwrap_or_default()
    }

    #[test]
    fn a_good_order_passes_with_keys_that_nobody_knows() {
        assert_eq!(faults(&good()), Vec::<String>::new());
    }

    #[test]
    fn each_fault_is_told_with_its_place() {
        for (pointer, wrong, key) in [
            ("/schemaVersion", json!(2), "schemaVersion"),
            ("/status", json!("lost"), "status"),
            ("/orderType", Value::Null, "orderType"),
            ("/createdAt", json!("30.04.2026"), "createdAt"),
            ("/orderManagementURL", json!("shop"), "orderManagementURL"),
            ("/webServiceURL", json!("http://wallet.example.org"), "webServiceURL"),
            ("/merchant/displayName", json!(""), "merchant.displayName"),
            ("/merchant/logo", json!("other.png"), "merchant.logo"),
            ("/lineItems/0/quantity", json!("two"), "lineItems[0].quantity"),
            ("/lineItems/0/price/currency", json!("euro"), "lineItems[0].price"),
            ("/fulfillments/0/status", json!("readyForPickup"), "fulfillments[0].status"),
            (
                "/fulfillments/0/estimatedDeliveryWindowDuration",
                json!("2h"),
                "fulfillments[0].estimatedDeliveryWindowDuration",
            ),
            ("/fulfillments/1/displayName", Value::Null, "fulfillments[1].displayName"),
            ("/payment/status", json!("maybe"), "payment.status"),
        ] {
            let mut order = good();
            *order.pointer_mut(pointer).unwrap() = wrong;
            assert_eq!(faults(&order), [key], "{pointer}");
        }
    }
}
