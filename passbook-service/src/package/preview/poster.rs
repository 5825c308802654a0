//! Poster styles: artwork over the whole face, a few texts over its shaded lower part.

use super::Face;
use super::barcode;
use super::canvas::{Anchor, Canvas, FONT};
use super::front::{WIDTH, look};
use super::text::escaped;
use serde_json::Value;

const HEIGHT: f64 = 470.0;
const EDGE: f64 = 18.0;

pub(super) fn draw(face: &Face<'_>) -> String {
    let mut canvas = Canvas::default();
    if let Some(artwork) = face.images.find("artwork").or_else(|| face.images.find("background")) {
        canvas.cover(&artwork, 0.0, 0.0, WIDTH, HEIGHT, "");
    }
    canvas.raw(&format!("<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"url(#shade)\"/>"));
    let white = "#fff";
    let logo = face.images.find("primaryLogo").or_else(|| face.images.find("logo"));
    match &logo {
        Some(logo) => drop(canvas.contain(logo, EDGE, 14.0, 126.0, 34.0)),
        None => {
            let title = face.text("logoText").or_else(|| face.text("organizationName")).unwrap_or_default();
            canvas.text(EDGE, 38.0, 200.0, Anchor::Start, &title, look(18.0, 10.0, 700, white));
        }
    }
    if let Some(shown) = face.fields("headerFields").first() {
        canvas.text(WIDTH - EDGE, 26.0, 110.0, Anchor::End, &shown.label, look(10.5, 7.0, 600, white));
        canvas.text(WIDTH - EDGE, 44.0, 110.0, Anchor::End, &shown.value, look(16.0, 9.0, 500, white));
    }
    let mut y = HEIGHT - 18.0;
    if let Some(code) = face.pass.pointer("/barcodes/0") {
        y = small_code(code, &mut canvas, y);
    }
    let semantic = |key: &str| {
        let tag = face.pass.get("semantics").and_then(|tags| tags.get(key)).and_then(Value::as_str);
        tag.map(|text| face.translated(text)).filter(|text| !text.is_empty())
    };
    let footer = face.fields("footerFields");
    if let Some(shown) = footer.first() {
        canvas.text(EDGE, y, WIDTH - 2.0 * EDGE, Anchor::Start, &shown.value, look(13.0, 8.0, 500, white));
        y -= 24.0;
    }
    let place: Vec<_> = ["venueName", "venueRegionName"].into_iter().filter_map(semantic).collect();
    if !place.is_empty() {
        canvas.text(EDGE, y, WIDTH - 2.0 * EDGE, Anchor::Start, &place.join(", "), look(14.0, 8.0, 500, white));
        y -= 24.0;
    }
    if let Some(event) = semantic("eventName") {
        canvas.text(EDGE, y, WIDTH - 2.0 * EDGE, Anchor::Start, &event, look(26.0, 13.0, 700, white));
    } else {
        let primary = face.fields("primaryFields");
        let count = primary.len().clamp(1, 4);
        let room = (WIDTH - 2.0 * EDGE) / if count > 2 { 2.0 } else { f64::from(u32::try_from(count).unwrap_or(1)) };
        for (index, shown) in primary.iter().take(4).enumerate() {
            let column = if index % 2 == 0 || count == 1 { 0.0 } else { 1.0 };
            let above = if count > 2 && index < 2 { 46.0 } else { 0.0 };
            let x = EDGE + column * room;
            canvas.text(x, y - above - 20.0, room - 8.0, Anchor::Start, &shown.label, look(11.0, 8.0, 600, white));
            canvas.text(x, y - above, room - 8.0, Anchor::Start, &shown.value, look(19.0, 10.0, 600, white));
        }
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" font-family=\"{FONT}\" role=\"img\" aria-label=\"{}\">\
         <defs><clipPath id=\"card\"><rect width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"18\"/></clipPath>\
         <linearGradient id=\"shade\" x1=\"0\" y1=\"0\" x2=\"0\" y2=\"1\"><stop offset=\"0\" stop-color=\"#000\" stop-opacity=\".35\"/>\
         <stop offset=\".3\" stop-color=\"#000\" stop-opacity=\"0\"/><stop offset=\".55\" stop-color=\"#000\" stop-opacity=\".1\"/>\
         <stop offset=\"1\" stop-color=\"#000\" stop-opacity=\".82\"/></linearGradient></defs>\
         <g clip-path=\"url(#card)\">{}</g></svg>",
        escaped(&face.text("description").unwrap_or_default()),
        canvas.0
    )
}

/// A barcode at the lower edge; where the texts above it end.
fn small_code(code: &Value, canvas: &mut Canvas, y: f64) -> f64 {
    let text = |name: &str| code.get(name).and_then(Value::as_str).unwrap_or_default();
    let Some(drawn) = barcode::draw(text("format"), text("message"), text("messageEncoding")) else { return y };
    let (modules, rows) = (f64::from(drawn.width), f64::from(drawn.height));
    let (wide, tall) = if drawn.square { (104.0, 104.0) } else { (250.0, 58.0) };
    let (left, top) = ((WIDTH - wide) / 2.0, y - tall);
    let (across, down) = ((wide - 16.0) / modules, (tall - 16.0) / rows);
    canvas.raw(&format!(
        "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{wide}\" height=\"{tall}\" rx=\"10\" fill=\"#fff\"/>\
         <path transform=\"translate({:.2} {:.2}) scale({across:.4} {down:.4})\" d=\"{}\" shape-rendering=\"crispEdges\"/>",
        left + 8.0,
        top + 8.0,
        drawn.path
    ));
    top - 16.0
}
