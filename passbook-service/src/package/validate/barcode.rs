//! Barcodes: the format, what it can encode, and a fallback for phones that do not know the newer formats.

use serde_json::{Map, Value};

use super::{Check, is_open};
use crate::package::placeholder::join;

/// Drawn by every version of Wallet that knows the `barcodes` array.
const ALWAYS: [&str; 4] =
    ["PKBarcodeFormatQR", "PKBarcodeFormatPDF417", "PKBarcodeFormatAztec", "PKBarcodeFormatCode128"];
/// Drawn from iOS 27 on; older versions take the next entry of the array.
const FROM_IOS_27: [&str; 4] =
    ["PKBarcodeFormatEAN13", "PKBarcodeFormatCode39", "PKBarcodeFormatCodabar", "PKBarcodeFormatITF"];

impl Check {
    pub(super) fn barcodes(&mut self, pass: &Map<String, Value>) {
        if let Some(single) = pass.get("barcode") {
            match single {
                Value::Object(barcode) => {
                    self.barcode("barcode", barcode);
                    if barcode.get("format").and_then(Value::as_str) == Some("PKBarcodeFormatCode128") {
                        self.add(
                            "barcode.format",
                            barcode.get("format"),
                            "Code 128 is allowed in the array `barcodes` only",
                        );
                    }
                }
                other => self.add("barcode", Some(other), "must be an object; new passes use the array `barcodes`"),
            }
        }
        let barcodes = self.objects(pass, "barcodes", None);
        let format = |barcode: &Map<String, Value>| barcode.get("format").and_then(Value::as_str).map(str::to_owned);
        let formats: Vec<_> = barcodes.iter().filter_map(|(_, barcode)| format(barcode)).collect();
        for (place, barcode) in &barcodes {
            self.barcode(place, barcode);
        }
        if let Some(newest) = formats.last()
            && FROM_IOS_27.contains(&newest.as_str())
        {
            self.faults.add(
                "barcodes",
                newest,
                format!("only iOS 27 and later draw it: let one of {} follow as a fallback", ALWAYS.join(", ")),
            );
        }
    }

    fn barcode(&mut self, place: &str, barcode: &Map<String, Value>) {
        let format = barcode.get("format");
        let known = |text: &str| ALWAYS.contains(&text) || FROM_IOS_27.contains(&text);
        if !format.is_some_and(|value| is_open(value) || value.as_str().is_some_and(known)) {
            let allowed: Vec<_> = ALWAYS.into_iter().chain(FROM_IOS_27).collect();
            self.add(&join(place, "format"), format, &format!("is required: one of {}", allowed.join(", ")));
        }
        let message = barcode.get("message");
        let encoding = barcode.get("messageEncoding");
        if message.and_then(Value::as_str).is_none_or(str::is_empty) {
            self.add(&join(place, "message"), message, "is required: a text that is not empty");
        }
        if encoding.and_then(Value::as_str).is_none_or(str::is_empty) {
            self.add(
                &join(place, "messageEncoding"),
                encoding,
                "is required: an IANA character set, usually iso-8859-1",
            );
        }
        if let (Some(text), Some(encoding)) = (message.and_then(Value::as_str), encoding.and_then(Value::as_str))
            && encoding.eq_ignore_ascii_case("iso-8859-1")
            && text.chars().any(|c| u32::from(c) > 0xff)
        {
            self.add(
                &join(place, "message"),
                message,
                "has characters that iso-8859-1 cannot write; use messageEncoding utf-8",
            );
        }
        if let (Some("PKBarcodeFormatEAN13"), Some(text)) =
            (format.and_then(Value::as_str), message.and_then(Value::as_str))
            && !message.is_some_and(is_open)
            && !is_ean13(text)
        {
            self.add(&join(place, "message"), message, "EAN-13 encodes 12 digits, or 13 with the right check digit");
        }
    }
}

fn is_ean13(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    if digits.len() != text.chars().count() || !(12..=13).contains(&digits.len()) {
        return false;
    }
    let sum: u32 = digits.iter().take(12).enumerate().map(|(i, d)| if i % 2 == 0 { *d } else { d * 3 }).sum();
    digits.get(12).is_none_or(|check| *check == (10 - sum % 10) % 10)
}
