//! Texts in a picture: escaped, measured roughly, shortened, broken into lines, and values as Wallet writes them.

use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Iso8601;

/// A text that is safe in XML and HTML: no markup, and none of the characters that XML 1.0 has no place for.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\t' | '\n' | '\r' => safe.push(' '),
            c if c < ' ' || matches!(c, '\u{fffe}' | '\u{ffff}') => {}
            c => safe.push(c),
        }
    }
    safe
}

/// No picture shows more of a text than this many characters on one line, or on all lines.
const LONGEST_LINE: usize = 400;
const LONGEST_TEXT: usize = 2000;

/// About how wide a text is at a size, in the same unit.
pub(super) fn width(text: &str, size: f64) -> f64 {
    text.chars().take(LONGEST_TEXT).map(ems).sum::<f64>() * size
}

fn ems(c: char) -> f64 {
    match c {
        'i' | 'j' | 'l' | 'I' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' => 0.27,
        'f' | 't' | 'r' | '(' | ')' | '[' | ']' | '-' | ' ' | '/' => 0.34,
        'm' | 'w' | 'M' | 'W' | '@' | '%' => 0.86,
        'A'..='Z' | '&' => 0.66,
        '0'..='9' => 0.57,
        c if u32::from(c) >= 0x2e80 => 1.0,
        _ => 0.54,
    }
}

/// At most that many characters of a text.
fn cut(text: &str, most: usize) -> &str {
    text.char_indices().nth(most).and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}

/// The size, `smallest` at least, at which a text fits, and the text, shortened if it still does not.
pub(super) fn fitted(text: &str, room: f64, size: f64, smallest: f64) -> (String, f64) {
    let text = cut(text, LONGEST_LINE);
    let wide = width(text, size);
    if wide <= room {
        return (text.to_owned(), size);
    }
    let shrunk = (size * room / wide).max(smallest);
    if width(text, shrunk) <= room * 1.01 {
        return (text.to_owned(), shrunk);
    }
    // Room for the dots.
    let (mut kept, mut taken) = (String::new(), shrunk);
    for c in text.chars() {
        taken += ems(c) * shrunk;
        if taken > room {
            break;
        }
        kept.push(c);
    }
    (format!("{}…", kept.trim_end()), shrunk)
}

/// Lines of at most `room`, broken at spaces where that can be.
pub(super) fn lines(text: &str, room: f64, size: f64) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in cut(text, LONGEST_TEXT).split('\n') {
        let (mut line, mut taken) = (String::new(), 0.0);
        for word in paragraph.split(' ') {
            let (gap, wide) = (ems(' ') * size, width(word, size));
            if !line.is_empty() && taken + gap + wide > room {
                lines.push(std::mem::take(&mut line));
                taken = 0.0;
            }
            if !line.is_empty() {
                line.push(' ');
                taken += gap;
            }
            for c in word.chars() {
                let wide = ems(c) * size;
                if !line.is_empty() && taken + wide > room {
                    lines.push(std::mem::take(&mut line));
                    taken = 0.0;
                }
                line.push(c);
                taken += wide;
            }
        }
        lines.push(line);
    }
    lines
}

/// A field's value as Wallet writes it.
pub(super) fn value_of(field: &Map<String, Value>, translated: &dyn Fn(&str) -> String) -> String {
    let style = |name: &str| field.get(name).and_then(Value::as_str);
    match field.get("value") {
        Some(Value::Number(number)) => {
            let plain = || number.to_string();
            match (style("currencyCode"), style("numberStyle"), number.as_f64()) {
                (Some(code), _, Some(amount)) => currency(amount, code),
                (_, Some("PKNumberStylePercent"), Some(share)) => format!("{} %", trimmed(share * 100.0)),
                (_, Some("PKNumberStyleScientific"), Some(value)) => format!("{value:E}"),
                (_, Some("PKNumberStyleDecimal"), Some(value)) => grouped(&trimmed(value)),
                _ => plain(),
            }
        }
        Some(Value::String(text)) => {
            let (day, clock) = (style("dateStyle"), style("timeStyle"));
            match (day, clock) {
                (None, None) => translated(text),
                (day, clock) => date(text, day, clock).unwrap_or_else(|| translated(text)),
            }
        }
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

/// Markup taken away: `attributedValue` may have links.
pub(super) fn without_markup(text: &str) -> String {
    let mut plain = String::new();
    let mut inside = false;
    for c in text.chars() {
        match c {
            '<' => inside = true,
            '>' if inside => inside = false,
            c if !inside => plain.push(c),
            _ => {}
        }
    }
    plain.replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"")
}

fn trimmed(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn grouped(text: &str) -> String {
    let (whole, rest) = text.split_once('.').map_or((text, None), |(whole, rest)| (whole, Some(rest)));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("-", digits));
    let mut written = String::from(sign);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            written.push(',');
        }
        written.push(digit);
    }
    rest.map_or(written.clone(), |rest| format!("{written}.{rest}"))
}

fn currency(amount: f64, code: &str) -> String {
    let sign = match code {
        "EUR" => "€",
        "USD" => "$",
        "GBP" => "£",
        "JPY" => "¥",
        other => return format!("{other} {}", grouped(&format!("{amount:.2}"))),
    };
    let digits = if code == "JPY" { format!("{amount:.0}") } else { format!("{amount:.2}") };
    format!("{sign}{}", grouped(&digits))
}

fn date(text: &str, day: Option<&str>, clock: Option<&str>) -> Option<String> {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let at = OffsetDateTime::parse(text, &Iso8601::PARSING).ok()?;
    let month = MONTHS.get(usize::from(u8::from(at.month())) - 1)?;
    let day = match day.unwrap_or("PKDateStyleNone") {
        "PKDateStyleShort" => Some(format!("{}/{}/{:02}", u8::from(at.month()), at.day(), at.year() % 100)),
        "PKDateStyleMedium" => Some(format!("{} {}, {}", &month[..3], at.day(), at.year())),
        "PKDateStyleLong" => Some(format!("{month} {}, {}", at.day(), at.year())),
        "PKDateStyleFull" => Some(format!("{}, {month} {}, {}", at.weekday(), at.day(), at.year())),
        _ => None,
    };
    let clock = match clock.unwrap_or("PKDateStyleNone") {
        "PKDateStyleNone" => None,
        _ => Some(format!("{}:{:02}", at.hour(), at.minute())),
    };
    match (day, clock) {
        (Some(day), Some(clock)) => Some(format!("{day}, {clock}")),
        (day, clock) => day.or(clock),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_written_as_their_styles_say() {
        for (field, expected) in [
            (json!({"value": 1234.5, "currencyCode": "EUR"}), "€1,234.50"),
            (json!({"value": 12, "currencyCode": "CHF"}), "CHF 12.00"),
            (json!({"value": 0.25, "numberStyle": "PKNumberStylePercent"}), "25 %"),
            (json!({"value": 1234567, "numberStyle": "PKNumberStyleDecimal"}), "1,234,567"),
            (json!({"value": 12}), "12"),
            (
                json!({"value": "2026-04-30T18:05:00+02:00", "dateStyle": "PKDateStyleMedium", "timeStyle": "PKDateStyleShort"}),
                "Apr 30, 2026, 18:05",
            ),
            (json!({"value": "2026-04-30T18:05:00+02:00", "dateStyle": "PKDateStyleFull"}), "Thursday, April 30, 2026"),
            (json!({"value": "key"}), "translated"),
        ] {
            let translated = |text: &str| if text == "key" { "translated".to_owned() } else { text.to_owned() };
            assert_eq!(value_of(field.as_object().unwrap(), &translated), expected);
        }
    }

    #[test]
    fn long_texts_shrink_then_end_in_an_ellipsis_and_lines_break_at_spaces() {
        let (text, size) = fitted("A rather long name", 100.0, 20.0, 10.0);
        assert!(size < 20.0 && text == "A rather long name");
        let (text, size) = fitted(&"long ".repeat(30), 100.0, 20.0, 10.0);
        assert!((size - 10.0).abs() < 1e-9 && text.ends_with('…') && width(&text, size) <= 101.0);
        let broken = lines("one two three\nfour", width("one two", 10.0) + 0.1, 10.0);
        assert_eq!(broken, ["one two", "three", "four"]);
        assert!(lines(&"x".repeat(100), 50.0, 10.0).iter().all(|line| width(line, 10.0) <= 50.0));
        assert_eq!(escaped("<a b=\"c\">&\u{1}'"), "&lt;a b=&quot;c&quot;&gt;&amp;&#39;");
        assert_eq!(without_markup("<a href='x'>A &amp; B</a>"), "A & B");
    }
}
