//! The barcode: the first of the pass that Google can show.

use serde_json::{Map, Value, json};

/// Apple's formats and Google's types.
const TYPES: [(&str, &str); 14] = [
    ("PKBarcodeFormatQR", "QR_CODE"),
    ("PKBarcodeFormatPDF417", "PDF_417"),
    ("PKBarcodeFormatAztec", "AZTEC"),
    ("PKBarcodeFormatCode128", "CODE_128"),
    ("PKBarcodeFormatCode39", "CODE_39"),
    ("PKBarcodeFormatCodabar", "CODABAR"),
    ("PKBarcodeFormatDataMatrix", "DATA_MATRIX"),
    ("PKBarcodeFormatEAN8", "EAN_8"),
    ("PKBarcodeFormatEAN13", "EAN_13"),
    ("PKBarcodeFormatITF", "ITF_14"),
    ("PKBarcodeFormatITF14", "ITF_14"),
    ("PKBarcodeFormatI2of5", "ITF_14"),
    ("PKBarcodeFormatUPCA", "UPC_A"),
    ("PKBarcodeFormatUPC", "UPC_A"),
];

/// Google's barcode of a pass: `barcodes` in their order, then the old single `barcode`.
pub(super) fn barcode(pass: &Map<String, Value>) -> Option<Value> {
    let listed = pass.get("barcodes").and_then(Value::as_array).into_iter().flatten();
    listed.chain(pass.get("barcode")).find_map(|barcode| {
        let format = barcode.get("format")?.as_str()?;
        let (_, kind) = TYPES.iter().find(|(apple, _)| apple.eq_ignore_ascii_case(format))?;
        let message = barcode.get("message")?.as_str()?;
        // Apple's interleaved codes have any even number of digits, Google's are the 14 of a case of goods.
        if *kind == "ITF_14" && !(message.len() == 14 && message.bytes().all(|byte| byte.is_ascii_digit())) {
            return None;
        }
        let mut found = json!({ "type": kind, "value": message });
        if let Some(text) = barcode.get("altText").and_then(Value::as_str) {
            found["alternateText"] = text.into();
        }
        Some(found)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_google_knows_is_taken() {
        let pass = json!({"barcodes": [
            {"format": "PKBarcodeFormatOfTomorrow", "message": "x"},
            {"format": "PKBarcodeFormatEAN13", "message": "4006381333931", "altText": "4 006381 333931"},
            {"format": "PKBarcodeFormatQR", "message": "y"},
        ]});
        let found = barcode(pass.as_object().unwrap()).unwrap();
        assert_eq!(found, json!({"type": "EAN_13", "value": "4006381333931", "alternateText": "4 006381 333931"}));
        assert_eq!(barcode(&Map::new()), None);
        for (message, kind) in [("0400638133393", "QR_CODE"), ("1234567890", "QR_CODE"), ("15400141288763", "ITF_14")] {
            let pass = json!({"barcodes": [
                {"format": "PKBarcodeFormatI2of5", "message": message},
                {"format": "PKBarcodeFormatQR", "message": message},
            ]});
            assert_eq!(barcode(pass.as_object().unwrap()).unwrap()["type"], kind, "{message}");
        }
    }
}
