//! The front of a pass, laid out as its style is: header, primary fields with their images, rows of fields, barcode.

use serde_json::Value;

use super::barcode;
use super::canvas::{Anchor, Canvas, FONT, Look};
use super::text::escaped;
use super::{Face, Shown};

pub(super) const WIDTH: f64 = 350.0;
const EDGE: f64 = 16.0;
const ROOM: f64 = WIDTH - 2.0 * EDGE;
const SHORTEST: f64 = 430.0;

/// The colours of a pass.
pub(super) struct Colours {
    background: String,
    ink: String,
    label: String,
}

pub(super) fn draw(face: &Face<'_>) -> String {
    let style = face.style();
    let colours = colours(face.pass);
    let (mut under, mut canvas) = (Canvas::default(), Canvas::default());
    if is_poster(face) {
        return super::poster::draw(face);
    }
    header(face, &mut canvas, &colours);
    let mut y = 62.0;
    let strip = face.images.find("strip").filter(|_| matches!(style, "coupon" | "storeCard" | "eventTicket"));
    let primary = face.fields("primaryFields");
    match style {
        "boardingPass" => y = journey(face, &primary, &mut canvas, &colours, y),
        _ if strip.is_some() || matches!(style, "coupon" | "storeCard") => {
            let height = if style == "eventTicket" { 98.0 } else { 134.0 };
            if let Some(strip) = &strip {
                under.cover(strip, 0.0, y, WIDTH, height, "");
            }
            if let Some(shown) = primary.first() {
                let (big, small) = (look(46.0, 18.0, 300, &colours.ink), look(14.0, 9.0, 500, &colours.ink));
                canvas.text(EDGE, y + height * 0.52, ROOM, Anchor::Start, &shown.value, big);
                canvas.text(EDGE, y + height * 0.52 + 24.0, ROOM, Anchor::Start, &shown.label, small);
            }
            y += height + 12.0;
        }
        _ => {
            if let Some(background) = face.images.find("background").filter(|_| style == "eventTicket") {
                under.cover(&background, -20.0, -20.0, WIDTH + 40.0, 900.0, " filter=\"url(#soft)\" opacity=\"0.75\"");
            }
            let thumbnail = face.images.find("thumbnail").filter(|_| matches!(style, "generic" | "eventTicket"));
            let mut room = ROOM;
            if let Some(thumbnail) = &thumbnail {
                let (width, height) = (thumbnail.width.min(90.0), thumbnail.height.min(90.0));
                canvas.cover(thumbnail, WIDTH - EDGE - width, y, width, height, "");
                room -= width + 12.0;
            }
            if let Some(shown) = primary.first() {
                let anchor = Anchor::Start;
                canvas.text(
                    EDGE,
                    y + 14.0,
                    room,
                    anchor,
                    &shown.label.to_uppercase(),
                    look(11.0, 8.0, 600, &colours.label),
                );
                canvas.text(EDGE, y + 44.0, room, anchor, &shown.value, look(28.0, 13.0, 300, &colours.ink));
            }
            y += if thumbnail.is_some() { 102.0 } else { 62.0 };
        }
    }
    let (secondary, auxiliary) = (face.fields("secondaryFields"), face.fields("auxiliaryFields"));
    let square = is_square(face.pass);
    if matches!(style, "coupon" | "storeCard") || (style == "generic" && square) {
        // One row takes both groups where the barcode is square.
        let together: Vec<_> = secondary.into_iter().chain(auxiliary).take(4).collect();
        y = row(&together, &mut canvas, &colours, y);
    } else {
        y = row(&secondary, &mut canvas, &colours, y);
        for number in 0..2 {
            let of_row = |shown: &&Shown<'_>| shown.field.get("row").and_then(Value::as_i64).unwrap_or(0) == number;
            let fields: Vec<_> = auxiliary.iter().filter(of_row).collect();
            y = row_of(&fields, &mut canvas, &colours, y);
        }
    }
    let height = code(face, &mut canvas, y, square);
    frame(face, style, &colours, height, &under.0, &canvas.0)
}

fn is_poster(face: &Face<'_>) -> bool {
    let schemes = face.pass.get("preferredStyleSchemes").and_then(Value::as_array);
    let event = schemes.into_iter().flatten().any(|scheme| scheme == "posterEventTicket");
    (event || face.style() == "posterGeneric")
        && (face.images.find("artwork").is_some() || face.images.find("background").is_some())
}

fn is_square(pass: &Value) -> bool {
    let first = pass.pointer("/barcodes/0").or_else(|| pass.get("barcode"));
    let format = first.and_then(|code| code.get("format")).and_then(Value::as_str);
    matches!(format, Some("PKBarcodeFormatQR" | "PKBarcodeFormatAztec"))
}

/// Logo, its text, and the header fields.
fn header(face: &Face<'_>, canvas: &mut Canvas, colours: &Colours) {
    let fields = face.fields("headerFields");
    let mut right = WIDTH - EDGE;
    for shown in fields.iter().rev().take(3) {
        let wide =
            super::text::width(&shown.value, 17.0).max(super::text::width(&shown.label, 10.0)).clamp(34.0, 110.0);
        canvas.text(right, 24.0, wide, Anchor::End, &shown.label.to_uppercase(), look(10.0, 7.0, 600, &colours.label));
        canvas.text(right, 43.0, wide, Anchor::End, &shown.value, look(17.0, 9.0, 400, &colours.ink));
        right -= wide + 12.0;
    }
    let mut left = EDGE - 2.0;
    if let Some(logo) = face.images.find("logo") {
        left += canvas.contain(&logo, left, 9.0, (right - left - 8.0).clamp(20.0, 160.0), 40.0) + 8.0;
    }
    if let Some(text) = face.text("logoText") {
        canvas.text(left, 36.0, right - left - 6.0, Anchor::Start, &text, look(17.0, 10.0, 600, &colours.ink));
    }
}

/// From, to, and what goes between them.
fn journey(face: &Face<'_>, primary: &[Shown<'_>], canvas: &mut Canvas, colours: &Colours, y: f64) -> f64 {
    let half = ROOM / 2.0 - 26.0;
    for (index, shown) in primary.iter().take(2).enumerate() {
        let (x, anchor) = if index == 0 { (EDGE, Anchor::Start) } else { (WIDTH - EDGE, Anchor::End) };
        canvas.text(x, y + 14.0, half, anchor, &shown.label.to_uppercase(), look(11.0, 8.0, 600, &colours.label));
        canvas.text(x, y + 54.0, half, anchor, &shown.value, look(42.0, 16.0, 300, &colours.ink));
    }
    let transit = face.pass.pointer("/boardingPass/transitType").and_then(Value::as_str).unwrap_or_default();
    let sign = match transit {
        "PKTransitTypeAir" => {
            "M0-11c1.500 0 2.200 2 2.200 4.500v2l8.800 5.500v2.500l-8.800-2.800v4.800l2.500 2v2l-4.700-1.300-4.700 1.300v-2l2.500-2v-4.800l-8.800 2.800v-2.500l8.800-5.500v-2c0-2.500.7-4.500 2.200-4.500z"
        }
        "PKTransitTypeTrain" => "M-7-10h14v14l-3 4h-8l-3-4zM-4-7v5h8v-5zM-4 2h2v2h-2zM2 2h2v2h-2z",
        "PKTransitTypeBus" => "M-8-9h16v15h-2v3h-3v-3h-6v3h-3v-3h-2zM-6-6v6h12v-6zM-5 2h2v2h-2zM3 2h2v2h-2z",
        "PKTransitTypeBoat" => "M-1-11h2v3l6 8h-14l6-8zM-10 2h20l-4 7h-12z",
        _ => "M-9-1.500h12l-4-4 2-2 8 7.500-8 7.500-2-2 4-4h-12z",
    };
    let turn = if transit == "PKTransitTypeAir" { " rotate(90)" } else { "" };
    canvas.raw(&format!(
        "<path d=\"{sign}\" fill=\"{}\" fill-rule=\"evenodd\" transform=\"translate({:.1} {:.1}){turn}\"/>",
        colours.label,
        WIDTH / 2.0,
        y + 42.0
    ));
    y + 76.0
}

fn row(fields: &[Shown<'_>], canvas: &mut Canvas, colours: &Colours, y: f64) -> f64 {
    row_of(&fields.iter().collect::<Vec<_>>(), canvas, colours, y)
}

/// Fields side by side, each with as much room as its text needs.
fn row_of(fields: &[&Shown<'_>], canvas: &mut Canvas, colours: &Colours, y: f64) -> f64 {
    if fields.is_empty() {
        return y;
    }
    let needs: Vec<f64> = fields
        .iter()
        .map(|shown| {
            let wide =
                super::text::width(&shown.value, 17.0).max(super::text::width(&shown.label.to_uppercase(), 10.5));
            wide.clamp(24.0, 200.0) + 12.0
        })
        .collect();
    let all: f64 = needs.iter().sum();
    let mut x = EDGE;
    for (index, (shown, need)) in fields.iter().zip(&needs).enumerate() {
        let room = if all > ROOM { ROOM * need / all } else { need + (ROOM - all) / wide_count(fields.len()) };
        let last = index + 1 == fields.len() && fields.len() > 1;
        let alignment = shown.field.get("textAlignment").and_then(Value::as_str);
        let (at, anchor) = match alignment {
            Some("PKTextAlignmentRight") => (x + room, Anchor::End),
            Some("PKTextAlignmentCenter") => (x + room / 2.0, Anchor::Middle),
            Some("PKTextAlignmentLeft") => (x, Anchor::Start),
            _ if last => (x + room, Anchor::End),
            _ => (x, Anchor::Start),
        };
        canvas.text(
            at,
            y + 12.0,
            room - 8.0,
            anchor,
            &shown.label.to_uppercase(),
            look(10.5, 7.0, 600, &colours.label),
        );
        canvas.text(at, y + 32.0, room - 8.0, anchor, &shown.value, look(17.0, 9.0, 400, &colours.ink));
        x += room;
    }
    y + 48.0
}

fn wide_count(count: usize) -> f64 {
    f64::from(u32::try_from(count.max(1)).unwrap_or(1))
}

/// The barcode at the lower end; the card's height.
fn code(face: &Face<'_>, canvas: &mut Canvas, y: f64, square: bool) -> f64 {
    let codes = face.pass.get("barcodes").and_then(Value::as_array).cloned().unwrap_or_default();
    let single = face.pass.get("barcode").cloned();
    let Some(code) = codes.first().cloned().or(single) else { return (y + 20.0).max(SHORTEST) };
    let text = |name: &str| code.get(name).and_then(Value::as_str).unwrap_or_default();
    let alt = text("altText").to_owned();
    let (box_width, box_height) = if square { (148.0, 148.0) } else { (WIDTH - 60.0, 78.0) };
    let alt_room = if alt.is_empty() { 0.0 } else { 18.0 };
    let footer = face.images.find("footer").filter(|_| face.style() == "boardingPass");
    let footer_room = if footer.is_some() { 22.0 } else { 0.0 };
    let height = (y + box_height + alt_room + footer_room + 36.0).max(SHORTEST);
    let top = height - box_height - alt_room - 18.0;
    let left = (WIDTH - box_width) / 2.0;
    if let Some(footer) = footer {
        let _width = canvas.contain(&footer, (WIDTH - footer.width.min(286.0)) / 2.0, top - 24.0, 286.0, 15.0);
    }
    let faint = if face.flag("voided") { " opacity=\"0.25\"" } else { "" };
    canvas.raw(&format!(
        "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{box_width:.1}\" height=\"{:.1}\" rx=\"6\" fill=\"#fff\"/>",
        box_height + alt_room
    ));
    let inner = if square { 10.0 } else { 12.0 };
    match barcode::draw(text("format"), text("message"), text("messageEncoding")) {
        Some(drawn) => {
            let (wide, tall) = (box_width - 2.0 * inner, box_height - 2.0 * inner);
            let (modules, rows) = (f64::from(drawn.width), f64::from(drawn.height));
            let (across, down) = if drawn.square {
                let scale = (wide / modules).min(tall / rows);
                (scale, scale)
            } else {
                (wide / modules, tall / rows)
            };
            let x = left + (box_width - across * modules) / 2.0;
            let at = top + (box_height - down * rows) / 2.0;
            canvas.raw(&format!(
                "<path transform=\"translate({x:.2} {at:.2}) scale({across:.4} {down:.4})\" d=\"{}\" fill=\"#000\" shape-rendering=\"crispEdges\"{faint}/>",
                drawn.path
            ));
        }
        None => {
            let grey = look(12.0, 8.0, 400, "#6e6e73");
            let words = format!("{} cannot write this", text("format").trim_start_matches("PKBarcodeFormat"));
            canvas.text(WIDTH / 2.0, top + box_height / 2.0, box_width, Anchor::Middle, &words, grey);
        }
    }
    canvas.text(
        WIDTH / 2.0,
        top + box_height + 9.0,
        box_width - 12.0,
        Anchor::Middle,
        &alt,
        look(13.0, 7.0, 400, "#000"),
    );
    if face.flag("voided") {
        let red = look(30.0, 20.0, 700, "#c9302c");
        canvas.text(WIDTH / 2.0, top + box_height / 2.0 + 10.0, box_width, Anchor::Middle, "VOID", red);
    }
    height
}

/// The card's outline: each style has its own.
fn frame(face: &Face<'_>, style: &str, colours: &Colours, height: f64, under: &str, over: &str) -> String {
    let outline = match style {
        "coupon" => teeth(height),
        "eventTicket" => format!(
            "M12 0H151A24 24 0 0 0 199 0H338A12 12 0 0 1 350 12V{0:.1}A12 12 0 0 1 338 {1:.1}H12A12 12 0 0 1 0 {0:.1}V12A12 12 0 0 1 12 0Z",
            height - 12.0,
            height
        ),
        "boardingPass" => format!(
            "M12 0H338A12 12 0 0 1 350 12V132A8 8 0 0 0 350 148V{0:.1}A12 12 0 0 1 338 {1:.1}H12A12 12 0 0 1 0 {0:.1}V148A8 8 0 0 0 0 132V12A12 12 0 0 1 12 0Z",
            height - 12.0,
            height
        ),
        _ => format!(
            "M12 0H338A12 12 0 0 1 350 12V{0:.1}A12 12 0 0 1 338 {1:.1}H12A12 12 0 0 1 0 {0:.1}V12A12 12 0 0 1 12 0Z",
            height - 12.0,
            height
        ),
    };
    let title = face.text("description").unwrap_or_default();
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" height=\"{height:.0}\" font-family=\"{FONT}\" role=\"img\" aria-label=\"{}\">\
         <defs><clipPath id=\"card\"><path d=\"{outline}\"/></clipPath><filter id=\"soft\"><feGaussianBlur stdDeviation=\"9\"/></filter></defs>\
         <g clip-path=\"url(#card)\"><rect width=\"{WIDTH}\" height=\"{height:.0}\" fill=\"{}\"/>{under}{over}</g></svg>",
        escaped(&title),
        colours.background
    )
}

/// A coupon's edges, above and below.
fn teeth(height: f64) -> String {
    let (count, tooth) = (35, 10.0);
    let mut path = String::from("M0 4");
    for index in 0..count {
        let x = f64::from(index) * tooth;
        path.push_str(&format!("L{:.1} 0L{:.1} 4", x + tooth / 2.0, x + tooth));
    }
    path.push_str(&format!("V{:.1}", height - 4.0));
    for index in (0..count).rev() {
        let x = f64::from(index) * tooth;
        path.push_str(&format!("L{:.1} {height:.1}L{x:.1} {:.1}", x + tooth / 2.0, height - 4.0));
    }
    path.push('Z');
    path
}

pub(super) fn look(size: f64, smallest: f64, weight: u16, colour: &str) -> Look<'_> {
    Look { size, smallest, weight, colour }
}

/// The colours, as Wallet takes them; what is missing is black or white, whichever can be read.
fn colours(pass: &Value) -> Colours {
    let of = |key: &str| pass.get(key).and_then(Value::as_str).and_then(rgb);
    let background = of("backgroundColor").unwrap_or([240, 240, 243]);
    let [red, green, blue] = background.map(f64::from);
    let readable = if 0.299 * red + 0.587 * green + 0.114 * blue > 150.0 { [0, 0, 0] } else { [255, 255, 255] };
    let ink = of("foregroundColor").unwrap_or(readable);
    Colours { background: css(background), ink: css(ink), label: css(of("labelColor").unwrap_or(ink)) }
}

fn rgb(text: &str) -> Option<[u8; 3]> {
    let inside = text.trim().strip_prefix("rgb(")?.strip_suffix(')')?;
    let parts: Vec<u8> = inside.split(',').map(|part| part.trim().parse().ok()).collect::<Option<_>>()?;
    parts.try_into().ok()
}

fn css([red, green, blue]: [u8; 3]) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}
