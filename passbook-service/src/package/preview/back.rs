//! The back of a pass: its fields one below the other, and what Wallet itself says about the pass.

use super::Face;
use super::canvas::{Anchor, Canvas, FONT, Look};
use super::text::{escaped, lines, without_markup};
use serde_json::Value;

const WIDTH: f64 = 350.0;
const EDGE: f64 = 18.0;

pub(super) fn draw(face: &Face<'_>) -> String {
    let mut canvas = Canvas::default();
    let mut y = 62.0;
    let mut rows: Vec<(String, String)> = Vec::new();
    for group in ["backFields", "additionalInfoFields"] {
        for shown in face.fields(group) {
            let attributed = shown.field.get("attributedValue").and_then(Value::as_str);
            let value = attributed.map_or(shown.value, |text| without_markup(&face.translated(text)));
            rows.push((shown.label, value));
        }
    }
    if let Some(expires) = face.text("expirationDate") {
        rows.push(("Expires".to_owned(), expires));
    }
    if face.flag("voided") {
        rows.push(("Status".to_owned(), "void".to_owned()));
    }
    let ink = Look { size: 15.0, smallest: 15.0, weight: 400, colour: "#1c1c1e" };
    for (label, value) in &rows {
        let (top, mut at) = (y, y + 20.0);
        let mut row = Canvas::default();
        row.text(
            EDGE + 14.0,
            at,
            WIDTH - 2.0 * EDGE - 28.0,
            Anchor::Start,
            label,
            Look { size: 12.0, smallest: 9.0, weight: 500, colour: "#6e6e73" },
        );
        at += if label.is_empty() { 0.0 } else { 20.0 };
        for line in lines(value, WIDTH - 2.0 * EDGE - 28.0, 15.0) {
            row.text(EDGE + 14.0, at, WIDTH, Anchor::Start, &line, ink);
            at += 20.0;
        }
        let height = at - top - 4.0;
        canvas.raw(&format!(
            "<rect x=\"{EDGE}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{height:.1}\" rx=\"10\" fill=\"#fff\"/>",
            WIDTH - 2.0 * EDGE
        ));
        canvas.raw(&row.0);
        y = top + height + 8.0;
    }
    let height = (y + 12.0).max(200.0);
    let title = face.text("organizationName").unwrap_or_default();
    let mut head = Canvas::default();
    head.text(
        WIDTH / 2.0,
        30.0,
        WIDTH - 60.0,
        Anchor::Middle,
        &title,
        Look { size: 16.0, smallest: 10.0, weight: 600, colour: "#1c1c1e" },
    );
    let description = face.text("description").unwrap_or_default();
    head.text(
        WIDTH / 2.0,
        48.0,
        WIDTH - 40.0,
        Anchor::Middle,
        &description,
        Look { size: 12.0, smallest: 9.0, weight: 400, colour: "#6e6e73" },
    );
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" height=\"{height:.0}\" \
         font-family=\"{FONT}\" role=\"img\" aria-label=\"{}\"><rect width=\"{WIDTH}\" height=\"{height:.0}\" rx=\"14\" fill=\"#f2f2f7\"/>{}{}</svg>",
        escaped(&title),
        head.0,
        canvas.0
    )
}
