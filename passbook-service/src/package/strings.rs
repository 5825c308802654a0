//! `XX.lproj/pass.strings`: the texts of one language, in Apple's old form `"key" = "value";` with comments.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

/// The texts of a language by their keys.
pub(super) type Strings = BTreeMap<String, String>;

/// Reads a file: UTF-8, or UTF-16 with a byte order mark.
///
/// # Errors
/// The line (from 1) and what is wrong there.
pub(super) fn parse(bytes: &[u8]) -> Result<Strings, (usize, String)> {
    let text =
        decoded(bytes).ok_or_else(|| (1, "bytes that are not UTF-8, nor UTF-16 with a byte order mark".to_owned()))?;
    let mut reader = Reader { rest: text.chars().peekable(), line: 1 };
    let mut strings = Strings::new();
    while reader.skip_blanks()? {
        let key = reader.word()?;
        reader.expect('=')?;
        reader.skip_blanks()?;
        let value = reader.word()?;
        let line = reader.line;
        reader.expect(';')?;
        if strings.insert(key.clone(), value).is_some() {
            return Err((line, format!("the key \"{key}\" a second time")));
        }
    }
    Ok(strings)
}

fn decoded(bytes: &[u8]) -> Option<String> {
    let utf16 = |from: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes[2..].chunks_exact(2).map(|pair| from([pair[0], pair[1]])).collect();
        bytes.len().is_multiple_of(2).then(|| String::from_utf16(&units).ok()).flatten()
    };
    match bytes {
        [0xff, 0xfe, ..] => utf16(u16::from_le_bytes),
        [0xfe, 0xff, ..] => utf16(u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8(rest.to_vec()).ok(),
        _ => String::from_utf8(bytes.to_vec()).ok(),
    }
}

struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
    line: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let next = self.rest.next();
        self.line += usize::from(next == Some('\n'));
        next
    }

    fn fault<T>(&self, what: impl Into<String>) -> Result<T, (usize, String)> {
        Err((self.line, what.into()))
    }

    /// Passes over white space and comments. `false`: the text ends here.
    fn skip_blanks(&mut self) -> Result<bool, (usize, String)> {
        while let Some(next) = self.rest.peek().copied() {
            if next.is_whitespace() {
                self.next();
            } else if next == '/' {
                self.next();
                match self.next() {
                    Some('/') => {
                        while self.rest.peek().is_some_and(|c| *c != '\n') {
                            self.next();
                        }
                    }
                    Some('*') => {
                        let mut last = ' ';
                        loop {
                            match self.next() {
                                Some('/') if last == '*' => break,
                                Some(c) => last = c,
                                None => return self.fault("a comment that does not end with */"),
                            }
                        }
                    }
                    _ => return self.fault("a single /, which begins no comment"),
                }
            } else {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn expect(&mut self, wanted: char) -> Result<(), (usize, String)> {
        self.skip_blanks()?;
        match self.next() {
            Some(found) if found == wanted => Ok(()),
            Some(found) => self.fault(format!("`{found}` where `{wanted}` belongs")),
            None => self.fault(format!("the end of the file where `{wanted}` belongs")),
        }
    }

    /// A text in quotation marks, or a bare word.
    fn word(&mut self) -> Result<String, (usize, String)> {
        let mut word = String::new();
        if self.rest.peek() != Some(&'"') {
            while let Some(c) =
                self.rest.peek().copied().filter(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '-'))
            {
                word.push(c);
                self.next();
            }
            return if word.is_empty() { self.fault("no text in quotation marks where one belongs") } else { Ok(word) };
        }
        self.next();
        loop {
            match self.next() {
                Some('"') => return Ok(word),
                Some('\\') => word.push(self.escaped()?),
                Some(c) => word.push(c),
                None => return self.fault("a text whose closing quotation mark is missing"),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, (usize, String)> {
        Ok(match self.next() {
            Some('n') => '\n',
            Some('t') => '\t',
            Some('r') => '\r',
            Some('U' | 'u') => {
                let digits: String = (0..4).filter_map(|_| self.next()).collect();
                match u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32) {
                    Some(c) => c,
                    None => return self.fault(format!("\\U{digits}, which is no character")),
                }
            }
            Some(c) => c,
            None => return self.fault("a \\ at the end of the file"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_escapes_and_both_encodings_are_read() {
        let text = "/* a */ // b\n\"k\" = \"v \\\"q\\\" \\U00e9\\n\";\nbare = \"x/*y*/\";\n";
        let expected =
            Strings::from([("k".to_owned(), "v \"q\" é\n".to_owned()), ("bare".to_owned(), "x/*y*/".to_owned())]);
        assert_eq!(parse(text.as_bytes()), Ok(expected.clone()));
        let little: Vec<u8> = [0xff, 0xfe].into_iter().chain(text.encode_utf16().flat_map(u16::to_le_bytes)).collect();
        let big: Vec<u8> = [0xfe, 0xff].into_iter().chain(text.encode_utf16().flat_map(u16::to_be_bytes)).collect();
        assert_eq!(parse(&little), Ok(expected.clone()));
        assert_eq!(parse(&big), Ok(expected));
        assert_eq!(parse(b""), Ok(Strings::new()));
    }

    #[test]
    fn faults_name_their_line() {
        for (text, line, part) in [
            ("\"a\" = \"b\"\n", 2, "where `;` belongs"),
            ("\n\"a\" \"b\";", 2, "where `=` belongs"),
            ("\"a\" = \"b;", 1, "closing quotation mark"),
            ("/* never", 1, "does not end"),
            ("\"a\"=\"1\";\n\"a\"=\"2\";", 2, "a second time"),
            ("\"a\"=\"\\Uzzzz\";", 1, "no character"),
        ] {
            let (at, what) = parse(text.as_bytes()).unwrap_err();
            assert!(at == line && what.contains(part), "{text:?}: {at} {what}");
        }
        assert!(parse(b"\"a\" = \"\xe9\";").is_err(), "Latin-1");
    }
}
