//! What a device says of itself besides its token: language, time zone, version, tags. Checked, and put into one form.

use std::collections::BTreeSet;

use icu_locale_core::Locale;

/// The most tags that a device has.
pub(crate) const MAX_TAGS: usize = 64;
/// The longest tag, in bytes.
pub(crate) const MAX_TAG: usize = 64;
/// The longest version, in bytes.
const MAX_VERSION: usize = 64;
/// The longest language tag, in bytes.
const MAX_LOCALE: usize = 64;
/// Numbers of a version that are compared; further ones are not.
const VERSION_NUMBERS: usize = 4;

/// What is wrong with it, for the one who sent it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Undescribable {
    #[error(
        "`locale` is a language tag (BCP 47) of at most {MAX_LOCALE} bytes, for example \"de-AT\"; found \"{0}\"{1}"
    )]
    Locale(String, &'static str),
    #[error(
        "`version` has 1 to {MAX_VERSION} visible ASCII characters, for example \"2.10.1\"; this one has {0} bytes"
    )]
    Version(usize),
    #[error("a device has {MAX_TAGS} tags at most; these would be {0}. Remove some")]
    TooManyTags(usize),
    #[error("a tag has 1 to {MAX_TAG} bytes without control characters and without spaces at its ends; found \"{0}\"")]
    Tag(String),
}

/// A language tag in its canonical form: `DE-at` becomes `de-AT`.
pub(crate) fn locale(text: &str) -> Result<String, Undescribable> {
    let shown = || text.chars().take(MAX_LOCALE).collect::<String>();
    if text.len() > MAX_LOCALE {
        return Err(Undescribable::Locale(shown(), ", which is too long"));
    }
    if text.contains('_') {
        return Err(Undescribable::Locale(shown(), ": write \"-\" instead of \"_\""));
    }
    match Locale::try_from_str(text) {
        Ok(locale) => Ok(locale.to_string()),
        Err(_) => Err(Undescribable::Locale(shown(), "")),
    }
}

/// A version, as it was written.
pub(crate) fn version(text: &str) -> Result<String, Undescribable> {
    let good = (1..=MAX_VERSION).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if good { Ok(text.to_owned()) } else { Err(Undescribable::Version(text.len())) }
}

/// A form of a version whose bytes sort as versions do; `None` when it does not begin with a number. `2.0` and `2.0.0` are
/// the same, `2.0-beta` is before them; a build (`+…`) says nothing about the order.
pub(crate) fn version_key(version: &str) -> Option<String> {
    let version = version.strip_prefix('v').unwrap_or(version);
    let version = version.split('+').next().unwrap_or(version);
    let end = version.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(version.len());
    let (numbers, rest) = version.split_at(end);
    let mut key = String::new();
    let mut found = 0;
    for number in numbers.split('.').filter(|number| !number.is_empty()).take(VERSION_NUMBERS) {
        let digits = number.trim_start_matches('0');
        // Longer numbers are no versions of anything; they sort behind all others.
        let digits = if digits.len() > 12 { "999999999999" } else { digits };
        key.push_str(&format!("{digits:0>12}."));
        found += 1;
    }
    if found == 0 {
        return None;
    }
    for _ in found..VERSION_NUMBERS {
        key.push_str("000000000000.");
    }
    // `-` is before `~`.
    match rest.trim_start_matches(['-', '.', '_']) {
        "" => key.push('~'),
        pre => key.push_str(&format!("-{}", pre.to_ascii_lowercase())),
    }
    Some(key)
}

/// One tag.
pub(crate) fn tag(text: &str) -> Result<(), Undescribable> {
    let good = (1..=MAX_TAG).contains(&text.len()) && !text.chars().any(char::is_control) && text.trim() == text;
    if good { Ok(()) } else { Err(Undescribable::Tag(text.chars().take(MAX_TAG).collect())) }
}

/// All tags of a device.
pub(crate) fn tags(tags: &[String]) -> Result<BTreeSet<String>, Undescribable> {
    tags.iter().try_for_each(|text| tag(text))?;
    let tags: BTreeSet<String> = tags.iter().cloned().collect();
    if tags.len() > MAX_TAGS { Err(Undescribable::TooManyTags(tags.len())) } else { Ok(tags) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_sort_as_people_expect() {
        let ordered = ["1.9", "1.10-alpha", "1.10", "1.10.0.1", "2.0-beta.1", "v2.0+77", "10", "99999999999999999"];
        let keys: Vec<_> = ordered.iter().map(|version| version_key(version).unwrap()).collect();
        let mut sorted = keys.clone();
        sorted.sort();
        assert_eq!(keys, sorted);
        assert_eq!(version_key("2.0"), version_key("2.0.0"));
        assert_eq!(version_key("beta"), None);
    }

    #[test]
    fn languages_have_one_form() {
        assert_eq!(locale("DE-at").unwrap(), "de-AT");
        assert_eq!(locale("zh-hant-tw").unwrap(), "zh-Hant-TW");
        assert_eq!(locale("de-u-co-phonebk").unwrap(), "de-u-co-phonebk");
        for wrong in ["", "de_AT", "english please", "d", &"x-".repeat(99)] {
            assert!(locale(wrong).unwrap_err().to_string().contains("de-AT"), "{wrong}");
        }
    }

    #[test]
    fn tags_have_bounds() {
        let many: Vec<_> = (0..65).map(|n| format!("t{n}")).collect();
        assert!(tags(&many).unwrap_err().to_string().contains("65"));
        assert_eq!(tags(&["b".to_owned(), "a".to_owned(), "b".to_owned()]).unwrap().len(), 2);
        for wrong in ["", " a", "a\n", &"x".repeat(65)] {
            assert!(tags(&[wrong.to_owned()]).is_err(), "{wrong:?}");
        }
    }
}
