//! Takes what identifies a device or a pass out of a line; what is left is the pattern by which lines are counted.

/// Words before a value that must not be kept.
const BEFORE_A_VALUE: [&str; 8] = [
    "serial number ",
    "for device ",
    "device = ",
    "passesupdatedsince ",
    "tag (",
    "header (",
    "applepass ",
    "androidpass ",
];

/// The pattern of a line: serial numbers, device ids, tags, tokens and addresses' paths are replaced by `…`.
#[must_use]
pub fn redact(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let text = mask_values(&text);
    text.split(' ').map(mask_word).collect::<Vec<_>>().join(" ")
}

/// Replaces the value after each of [`BEFORE_A_VALUE`]: a quoted one whole, else up to a delimiter.
fn mask_values(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let mut masked = String::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let next =
            BEFORE_A_VALUE.iter().filter_map(|word| lower[at..].find(word).map(|found| at + found + word.len())).min();
        let Some(start) = next else { break };
        masked.push_str(&text[at..start]);
        let value = &text[start..];
        let end = match value.strip_prefix('\'') {
            // The closing quote is the last one before a delimiter: a value may hold quotes itself.
            Some(inside) => {
                1 + inside
                    .find("' ")
                    .or_else(|| inside.find("',"))
                    .or_else(|| inside.find("'."))
                    .or_else(|| inside.find("')"))
                    .or_else(|| inside.find('\''))
                    .map_or(inside.len(), |quote| quote + 1)
            }
            None if text[..start].ends_with('(') => value.find(')').unwrap_or(value.len()),
            None => value.find([' ', ',', ';', ')', '.']).unwrap_or(value.len()),
        };
        masked.push('…');
        at = start + end;
    }
    masked.push_str(&text[at.min(text.len())..]);
    masked
}

/// Replaces words that look like identifiers: long hexadecimal or Base64 texts and UUIDs, and paths of addresses.
fn mask_word(word: &str) -> String {
    if let Some((scheme, rest)) = word.split_once("://") {
        let end = rest.find(['/', '?', ')', ',', ';']).unwrap_or(rest.len());
        let after = rest[end..].find([')', ',', ';']).map_or("", |at| &rest[end + at..]);
        return format!("{scheme}://{}{after}", &rest[..end]);
    }
    let core = word.trim_matches(|c: char| !c.is_alphanumeric());
    let digits = core.bytes().filter(u8::is_ascii_digit).count();
    let plain = core.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'=' | b'+' | b'/'));
    let hexadecimal = core.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    if plain && ((core.len() >= 12 && hexadecimal) || (core.len() >= 16 && digits >= 2)) {
        word.replace(core, "…")
    } else {
        word.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_identifies_is_taken_out_and_the_rest_is_the_pattern() {
        let pairs = [
            (
                "Get pass task (for device 0123456789abcdef0123456789abcdef, pass type pass.org.example, serial number card-17; with web service url https://wallet.example.org/x?t=1) encountered error: Authentication failure",
                "Get pass task (for device …, pass type pass.org.example, serial number …; with web service url https://wallet.example.org) encountered error: Authentication failure",
            ),
            (
                "Web service error for pass.a (https://x.org/wallet): Server requested update to serial number 'it's 5', but the pass was unchanged.",
                "Web service error for pass.a (https://x.org): Server requested update to serial number …, but the pass was unchanged.",
            ),
            (
                "Device received spurious push. Request for passesUpdatedSince 'e1.7' returned no serial numbers. (Device = abc)",
                "Device received spurious push. Request for passesUpdatedSince … returned no serial numbers. (Device = …)",
            ),
            (
                "request included 2 serial numbers but the lastUpdated tag (e1.7) remained the same.",
                "request included 2 serial numbers but the lastUpdated tag (…) remained the same.",
            ),
            (
                "Requested serial number A, received serial number B",
                "Requested serial number …, received serial number …",
            ),
            ("token 6f9619ff-8b86-d011-b42d-00cf4fc964ff.", "token …."),
        ];
        for (text, expected) in pairs {
            assert_eq!(redact(text), expected);
        }
    }

    proptest! {
        #[test]
        fn any_text_can_be_redacted(text in "\\PC*(serial number |Device = |')?\\PC*") {
            prop_assert!(!redact(&text).contains('\n'));
        }

        #[test]
        fn a_serial_number_never_stays(serial in "[a-zA-Z0-9_-]{3,40}") {
            let text = format!("Server requested update to serial number '{serial}', but the pass was unchanged.");
            prop_assert_eq!(redact(&text), "Server requested update to serial number …, but the pass was unchanged.");
        }
    }
}
