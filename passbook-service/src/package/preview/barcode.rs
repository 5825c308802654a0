//! Barcodes, really drawn: a reader can read them off the picture.

use rxing::common::BitMatrix;
use rxing::{BarcodeFormat, EncodeHints, MultiFormatWriter, Writer};

/// A barcode as squares and bars.
pub(super) struct Drawn {
    /// Modules across.
    pub(super) width: u32,
    /// Modules down; 1 for bars.
    pub(super) height: u32,
    /// SVG path data in modules: every dark run.
    pub(super) path: String,
    /// Whether it is square or nearly so, rather than bars.
    pub(super) square: bool,
}

/// Draws a message; `None` when the format cannot write it.
pub(super) fn draw(format: &str, message: &str, encoding: &str) -> Option<Drawn> {
    let (kind, square) = match format {
        "PKBarcodeFormatQR" => (BarcodeFormat::QR_CODE, true),
        "PKBarcodeFormatAztec" => (BarcodeFormat::AZTEC, true),
        "PKBarcodeFormatPDF417" => (BarcodeFormat::PDF_417, false),
        "PKBarcodeFormatCode128" => (BarcodeFormat::CODE_128, false),
        "PKBarcodeFormatEAN13" => (BarcodeFormat::EAN_13, false),
        "PKBarcodeFormatCode39" => (BarcodeFormat::CODE_39, false),
        "PKBarcodeFormatCodabar" => (BarcodeFormat::CODABAR, false),
        "PKBarcodeFormatI2of5" => (BarcodeFormat::ITF, false),
        _ => return None,
    };
    let two_dimensional = square || kind == BarcodeFormat::PDF_417;
    let mut hints = EncodeHints::default();
    if two_dimensional {
        hints.Margin = Some("0".to_owned());
        // Latin-1 is what readers take for granted; anything else is announced in the code itself.
        if !encoding.eq_ignore_ascii_case("iso-8859-1") {
            hints.CharacterSet = Some(encoding.to_owned());
        }
        if kind == BarcodeFormat::QR_CODE {
            hints.ErrorCorrection = Some("M".to_owned());
        }
    }
    let height = i32::from(!two_dimensional);
    let matrix = MultiFormatWriter.encode_with_hints(message, &kind, 0, height, &hints).ok()?;
    Some(traced(&matrix, two_dimensional, square))
}

/// Cuts the quiet zone off and writes each dark run as a part of a path.
fn traced(matrix: &BitMatrix, two_dimensional: bool, square: bool) -> Drawn {
    let [left, top, width, height] =
        matrix.getEnclosingRectangle().unwrap_or([0, 0, matrix.getWidth(), matrix.getHeight()]);
    let height = if two_dimensional { height } else { 1 };
    let mut path = String::new();
    for y in 0..height {
        let mut x = 0;
        while x < width {
            let start = x;
            while x < width && matrix.get(left + x, top + y) {
                x += 1;
            }
            if x > start {
                path.push_str(&format!("M{start} {y}h{}v1H{start}z", x - start));
            } else {
                x += 1;
            }
        }
    }
    Drawn { width, height, path, square }
}

/// A QR code by itself, with its quiet zone, as an SVG image.
#[must_use]
pub fn qr_svg(text: &str) -> Option<String> {
    let drawn = draw("PKBarcodeFormatQR", text, "iso-8859-1")?;
    let side = drawn.width + 8;
    Some(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"-4 -4 {side} {side}\" shape-rendering=\"crispEdges\">\
         <rect x=\"-4\" y=\"-4\" width=\"{side}\" height=\"{side}\" fill=\"#fff\"/><path d=\"{}\"/></svg>",
        drawn.path
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_draws_what_it_can_write_and_nothing_else() {
        for (format, message, width, height) in [
            ("PKBarcodeFormatQR", "HELLO", 21, 21),
            ("PKBarcodeFormatEAN13", "4006381333931", 95, 1),
            ("PKBarcodeFormatI2of5", "00012345678905", 9 * 14 + 9, 1),
        ] {
            let drawn = draw(format, message, "iso-8859-1").unwrap();
            assert_eq!((drawn.width, drawn.height), (width, height), "{format}");
        }
        for (format, message) in [
            ("PKBarcodeFormatAztec", "M1ADA/LOVELACE"),
            ("PKBarcodeFormatPDF417", "M1ADA/LOVELACE"),
            ("PKBarcodeFormatCode128", "Card-123"),
            ("PKBarcodeFormatCode39", "CARD 123"),
            ("PKBarcodeFormatCodabar", "A1234B"),
        ] {
            let drawn = draw(format, message, "utf-8").unwrap_or_else(|| panic!("{format}"));
            assert!(drawn.width > 10 && !drawn.path.is_empty(), "{format}");
        }
        assert!(draw("PKBarcodeFormatEAN13", "not digits", "iso-8859-1").is_none());
        assert!(draw("PKBarcodeFormatUnknown", "x", "iso-8859-1").is_none());
    }
}
