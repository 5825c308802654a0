//! The strings of a template, from its `XX.lproj/pass.strings`.

use std::collections::BTreeMap;

use crate::package::Template;

/// Texts by language and key.
pub(super) fn of(template: &Template) -> BTreeMap<String, BTreeMap<String, String>> {
    template
        .file_names()
        .filter_map(|name| Some((name, name.strip_suffix(".lproj/pass.strings")?)))
        .filter_map(|(name, language)| Some((language.to_owned(), parse(&decode(template.file(name)?.0)))))
        .collect()
}

/// UTF-8, or UTF-16 with a byte order mark.
fn decode(bytes: &[u8]) -> String {
    let wide = |read: fn([u8; 2]) -> u16| {
        let units = bytes[2..].chunks_exact(2).map(|pair| read([pair[0], pair[1]]));
        char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
    };
    match bytes {
        [0xff, 0xfe, ..] => wide(u16::from_le_bytes),
        [0xfe, 0xff, ..] => wide(u16::from_be_bytes),
        _ => String::from_utf8_lossy(bytes).trim_start_matches('\u{feff}').to_owned(),
    }
}

/// `"key" = "text";`, with comments. What cannot be read is left out: validation has told of it.
fn parse(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut literals = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '/' if rest.peek() == Some(&'/') => while rest.next().is_some_and(|c| c != '\n') {},
            '/' if rest.peek() == Some(&'*') => {
                let mut last = ' ';
                for c in rest.by_ref() {
                    if last == '*' && c == '/' {
                        break;
                    }
                    last = c;
                }
            }
            '"' => {
                let mut literal = String::new();
                while let Some(c) = rest.next() {
                    match c {
                        '"' => break,
                        '\\' => match rest.next() {
                            Some('n') => literal.push('\n'),
                            Some('t') => literal.push('\t'),
                            Some(c) => literal.push(c),
                            None => break,
                        },
                        c => literal.push(c),
                    }
                }
                literals.push(literal);
            }
            ';' => {
                if let [key, value] = literals.as_slice() {
                    found.insert(key.clone(), value.clone());
                }
                literals.clear();
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_read_with_comments_and_escapes() {
        let text = "/* a \"comment\"; */\n\"a\" = \"A \\\"quoted\\\"\\nline\";\n// \"b\" = \"no\";\n\"c\"=\"C\";";
        let found = parse(text);
        assert_eq!(found["a"], "A \"quoted\"\nline");
        assert_eq!(found["c"], "C");
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn utf_16_is_read() {
        let bytes: Vec<u8> = [0xff, 0xfe].into_iter().chain("\"ü\" = \"Ü\";".encode_utf16().flat_map(u16::to_le_bytes)).collect();
        assert_eq!(parse(&decode(&bytes))["ü"], "Ü");
    }
}
