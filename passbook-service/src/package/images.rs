//! Images of a pass: their names, and the sizes that Wallet draws them at (Human Interface Guidelines, Wallet).

/// Width and height of a PNG in pixels.
pub(super) fn dimensions(png: &[u8]) -> Option<(u32, u32)> {
    let header = png.strip_prefix(b"\x89PNG\r\n\x1a\n")?;
    if header.get(4..8)? != b"IHDR" {
        return None;
    }
    let number = |at: usize| Some(u32::from_be_bytes(header.get(at..at + 4)?.try_into().ok()?));
    Some((number(8)?, number(12)?)).filter(|(width, height)| *width > 0 && *height > 0)
}

/// What an image may measure, in points.
pub(super) struct Measure {
    /// Its name without scale and ending.
    pub(super) name: &'static str,
    /// Largest width.
    pub(super) width: u32,
    /// Largest height.
    pub(super) height: u32,
    /// Whether it must be just that large, rather than at most.
    pub(super) exact: bool,
    /// The styles that show it; empty: all.
    pub(super) styles: &'static [&'static str],
}

/// Every image that Wallet knows.
pub(super) const MEASURES: [Measure; 12] = [
    measure("icon", 38, 38, false, &[]),
    measure("logo", 160, 50, false, &[]),
    measure("strip", 375, 144, true, &["coupon", "storeCard", "eventTicket"]),
    measure("thumbnail", 90, 90, false, &["eventTicket", "generic"]),
    measure("background", 180, 220, false, &["eventTicket"]),
    measure("footer", 286, 15, false, &["boardingPass"]),
    measure("artwork", 358, 448, true, &["eventTicket", "posterGeneric"]),
    measure("primaryLogo", 126, 30, false, &["eventTicket", "posterGeneric", "boardingPass"]),
    measure("secondaryLogo", 135, 12, false, &["eventTicket"]),
    measure("venueMap", 1000, 1000, false, &["eventTicket"]),
    measure("personalizationLogo", 150, 40, false, &[]),
    measure("headerImage", 1000, 1000, false, &["eventTicket"]),
];

const fn measure(name: &'static str, width: u32, height: u32, exact: bool, styles: &'static [&'static str]) -> Measure {
    Measure { name, width, height, exact, styles }
}

/// An image's name and scale: `logo@2x.png` is `logo` and 2.
pub(super) fn name_and_scale(file: &str) -> Option<(&str, u32)> {
    let base = file.rsplit('/').next().unwrap_or(file).strip_suffix(".png")?;
    Some(match base.split_once('@') {
        Some((name, "2x")) => (name, 2),
        Some((name, "3x")) => (name, 3),
        Some(_) => return None,
        None => (base, 1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_png_says_how_large_it_is() {
        let icon = include_bytes!("../../templates/example/icon@2x.png");
        let (width, height) = dimensions(icon).unwrap();
        assert_eq!(width, height);
        assert_eq!(dimensions(b"\x89PNG\r\n\x1a\n"), None);
        assert_eq!(dimensions(b"GIF89a"), None);
        assert_eq!(name_and_scale("de.lproj/logo@3x.png"), Some(("logo", 3)));
        assert_eq!(name_and_scale("logo.png"), Some(("logo", 1)));
        assert_eq!(name_and_scale("pass.strings"), None);
    }
}
