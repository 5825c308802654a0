//! Which of the languages of a template a device gets.

/// The language for a device, and what was looked for in order: the device's own, that less one subtag after another (RFC
/// 4647, section 3.4), another one of the same language, the default.
pub(crate) fn choose<'a>(
    wanted: Option<&str>,
    available: impl Iterator<Item = &'a str> + Clone,
    default: &str,
) -> (String, Vec<String>) {
    let mut tried = Vec::new();
    if let Some(wanted) = wanted {
        let mut range = wanted;
        loop {
            tried.push(range.to_owned());
            if let Some(found) = available.clone().find(|locale| locale.eq_ignore_ascii_case(range)) {
                return (found.to_owned(), tried);
            }
            let Some((shorter, _)) = range.rsplit_once('-') else { break };
            // A single letter (`u`, `x`) belongs to what came after it.
            range = match shorter.rsplit_once('-') {
                Some((before, letter)) if letter.len() == 1 => before,
                _ => shorter,
            };
        }
        let language = wanted.split('-').next().unwrap_or(wanted);
        tried.push(format!("{language}-*"));
        let same = |locale: &&str| locale.split('-').next().is_some_and(|other| other.eq_ignore_ascii_case(language));
        if let Some(found) = available.clone().find(same) {
            return (found.to_owned(), tried);
        }
    }
    tried.push(default.to_owned());
    (default.to_owned(), tried)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(wanted: Option<&str>) -> String {
        choose(wanted, ["de", "en", "pt-BR", "zh-Hant"].into_iter(), "en").0
    }

    #[test]
    fn the_nearest_language_is_chosen() {
        assert_eq!(chosen(Some("de-AT")), "de");
        assert_eq!(chosen(Some("zh-Hant-TW-u-co-stroke")), "zh-Hant");
        assert_eq!(chosen(Some("pt-PT")), "pt-BR");
        assert_eq!(chosen(Some("fr")), "en");
        assert_eq!(chosen(None), "en");
    }

    #[test]
    fn what_was_tried_can_be_told() {
        let (_, tried) = choose(Some("fr-CA-x-work"), ["de"].into_iter(), "de");
        assert_eq!(tried, ["fr-CA-x-work", "fr-CA", "fr", "fr-*", "de"]);
    }
}
