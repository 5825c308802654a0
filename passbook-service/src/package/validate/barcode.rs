//! Barcodes: the format, what it can encode, and a fallback for phones that do not know the newer formats.

use serde_json::{Map, Value};

use super::{Check, is_open};
use crate::package::placeholder::join;

/// Drawn by every version of Wallet that knows the `barcodes` array.
const ALWAYS: [&str; 4] =
    ["PKBarcodeFormatQR", "PKBarcodeFormatPDF417", "PKBarcodeFormatAztec", "PKBarcodeFormatCode128"];
/// Drawn from iOS 27 on; older versions take the next entry of the array.
const FROM_IOS_27: [&str; 4] =
    ["PKBarcodeFormatEAN13", "PKBarcodeFormatCode39", "PKBarcodeFormatCodabar", "PKBarcodeFormatI2of5"];

impl Check {
    pub(super) fn barcodes(&mut self, pass: &Map<String, Value>) {
        if let Some(single) = pass.get("barcode") {
            match single {
                Value::Object(barcode) => {
                    self.barcode("barcode", barcode);
                    let format = barcode.get("format").and_then(Value::as_str).unwrap_or_default();
                    // Where the array is there, phones do not look at this.
                    let alone = !pass.contains_key("barcodes");
                    if alone && (format == "PKBarcodeFormatCode128" || FROM_IOS_27.contains(&format)) {
                        self.faults.add("barcode.format", format, "is allowed in the array `barcodes` only");
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
        let old = |format: &String| ALWAYS.contains(&format.as_str());
        if let Some(newest) = formats.last()
            && FROM_IOS_27.contains(&newest.as_str())
        {
            self.faults.add(
                "barcodes",
                newest,
                format!("only iOS 27 and later draw it: let one of {} follow as a fallback", ALWAYS.join(", ")),
            );
        }
        // The first that a phone knows is drawn: what stands behind a format that all know is never seen.
        if let Some(first) = formats.iter().position(old)
            && let Some((place, hidden)) = barcodes
                .iter()
                .zip(&formats)
                .skip(first + 1)
                .map(|((place, _), format)| (place.clone(), format))
                .find(|(_, format)| FROM_IOS_27.contains(&format.as_str()))
        {
            let before = formats.get(first).cloned().unwrap_or_default();
            let rule = format!(
                "stands behind {before}, which every phone draws, and is never shown: newer formats come first"
            );
            self.faults.add(join(&place, "format"), hidden, rule);
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
        if let (Some(format), Some(text)) = (format.and_then(Value::as_str), message.and_then(Value::as_str))
            && !message.is_some_and(is_open)
            && let Some(rule) = unwritable(format, text)
        {
            self.add(&join(place, "message"), message, rule);
        }
        if let Some(alt) = barcode.get("altText").filter(|alt| !alt.is_string()) {
            self.add(&join(place, "altText"), Some(alt), "must be a text");
        }
    }
}

/// Why a format cannot write a text; `None`: it can.
fn unwritable(format: &str, text: &str) -> Option<&'static str> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let fits = match format {
        "PKBarcodeFormatEAN13" => is_ean13(text),
        "PKBarcodeFormatI2of5" => digits(text) && text.len().is_multiple_of(2) && text.len() <= 80,
        "PKBarcodeFormatCode39" => {
            text.len() <= 80
                && text.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase() || b"-. $/+%".contains(&b))
        }
        "PKBarcodeFormatCodabar" => is_codabar(text),
        "PKBarcodeFormatCode128" => text.is_ascii() && text.len() <= 80,
        "PKBarcodeFormatPDF417" => text.len() <= 1100,
        "PKBarcodeFormatQR" => text.len() <= 2331,
        "PKBarcodeFormatAztec" => text.len() <= 1914,
        _ => true,
    };
    (!fits).then_some(match format {
        "PKBarcodeFormatEAN13" => "EAN-13 encodes 12 digits, or 13 with the right check digit",
        "PKBarcodeFormatI2of5" => "Interleaved 2 of 5 encodes an even number of digits, 80 at most",
        "PKBarcodeFormatCode39" => "Code 39 encodes digits, capital letters, space and - . $ / + %, 80 at most",
        "PKBarcodeFormatCodabar" => {
            "Codabar encodes digits and - $ : / . +, between two of the letters A to D or without them"
        }
        "PKBarcodeFormatCode128" => "Code 128 encodes ASCII, 80 characters at most",
        "PKBarcodeFormatPDF417" => "PDF417 encodes at most 1100 bytes",
        "PKBarcodeFormatAztec" => "Aztec encodes at most 1914 bytes",
        _ => "a QR code encodes at most 2331 bytes at a level that cameras read well",
    })
}

fn is_codabar(text: &str) -> bool {
    let bare = |b: &u8| b.is_ascii_digit() || b"-$:/.+".contains(b);
    let guard = |b: &u8| b"ABCDabcd".contains(b);
    match text.as_bytes() {
        [first, inner @ .., last] if guard(first) && guard(last) => !inner.is_empty() && inner.iter().all(bare),
        bytes => !bytes.is_empty() && bytes.iter().all(bare),
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
