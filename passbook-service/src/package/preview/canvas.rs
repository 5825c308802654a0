//! Parts of a drawing, as SVG text.

use super::images::Image;
use super::text::{escaped, fitted};

/// Fonts as phones have them, and what stands in for them.
pub(super) const FONT: &str =
    "-apple-system,'SF Pro Text','Helvetica Neue',Helvetica,'Segoe UI',Roboto,Arial,'DejaVu Sans',sans-serif";

/// Where a text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Anchor {
    fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }
}

/// A text's look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look<'a> {
    pub(super) size: f64,
    pub(super) smallest: f64,
    pub(super) weight: u16,
    pub(super) colour: &'a str,
}

/// Collects the parts.
#[derive(Default)]
pub(super) struct Canvas(pub(super) String);

impl Canvas {
    pub(super) fn raw(&mut self, svg: &str) {
        self.0.push_str(svg);
    }

    /// A text in one line that fits into `room`.
    pub(super) fn text(&mut self, x: f64, y: f64, room: f64, anchor: Anchor, text: &str, look: Look<'_>) {
        if text.is_empty() || room <= 0.0 {
            return;
        }
        let (text, size) = fitted(text, room, look.size, look.smallest);
        self.raw(&format!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{}\" font-size=\"{size:.1}\" font-weight=\"{}\" fill=\"{}\">{}</text>",
            anchor.word(),
            look.weight,
            look.colour,
            escaped(&text)
        ));
    }

    /// An image that fills its place; what hangs over is cut off.
    pub(super) fn cover(&mut self, image: &Image, x: f64, y: f64, width: f64, height: f64, more: &str) {
        self.raw(&format!(
            "<image href=\"{}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" preserveAspectRatio=\"xMidYMid slice\"{more}/>",
            image.address
        ));
    }

    /// An image that fits into its place, from its upper left corner; its width.
    pub(super) fn contain(&mut self, image: &Image, x: f64, y: f64, width: f64, height: f64) -> f64 {
        let scale = (width / image.width).min(height / image.height).min(1.0);
        let (drawn, tall) = (image.width * scale, image.height * scale);
        let top = y + (height - tall) / 2.0;
        self.raw(&format!(
            "<image href=\"{}\" x=\"{x:.1}\" y=\"{top:.1}\" width=\"{drawn:.1}\" height=\"{tall:.1}\"/>",
            image.address
        ));
        drawn
    }
}
