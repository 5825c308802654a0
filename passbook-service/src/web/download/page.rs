//! The HTML of a download page: no script, no other host, light and dark, a few languages.

use crate::package::escaped;

/// What is said of a pass.
pub(super) struct Shown {
    pub(super) organization: String,
    pub(super) description: String,
}

struct Words {
    language: &'static str,
    add: &'static str,
    add_all: &'static str,
    google: &'static str,
    scan: &'static str,
    other: &'static str,
}

const WORDS: [Words; 4] = [
    Words {
        language: "en",
        add: "Add to Apple Wallet",
        add_all: "Add all to Apple Wallet",
        google: "Add to Google Wallet",
        scan: "On a computer? Scan this with your phone's camera.",
        other: "Download the file",
    },
    Words {
        language: "de",
        add: "Zu Apple Wallet hinzufügen",
        add_all: "Alle zu Apple Wallet hinzufügen",
        google: "Zu Google Wallet hinzufügen",
        scan: "Am Computer? Scannen Sie dies mit der Kamera Ihres Telefons.",
        other: "Datei herunterladen",
    },
    Words {
        language: "fr",
        add: "Ajouter à Cartes d’Apple",
        add_all: "Tout ajouter à Cartes d’Apple",
        google: "Ajouter à Google Wallet",
        scan: "Sur un ordinateur ? Scannez ceci avec l’appareil photo de votre téléphone.",
        other: "Télécharger le fichier",
    },
    Words {
        language: "es",
        add: "Añadir a Cartera de Apple",
        add_all: "Añadir todo a Cartera de Apple",
        google: "Añadir a Google Wallet",
        scan: "¿En un ordenador? Escanee esto con la cámara de su teléfono.",
        other: "Descargar el archivo",
    },
];

const STYLE: &str = "\
:root{color-scheme:light dark;--page:#f2f2f7;--card:#fff;--ink:#1c1c1e;--soft:#6e6e73}\
@media(prefers-color-scheme:dark){:root{--page:#000;--card:#1c1c1e;--ink:#f2f2f7;--soft:#98989d}}\
*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--ink);\
font:16px/1.45 -apple-system,BlinkMacSystemFont,'Segoe UI',Roboto,Helvetica,Arial,sans-serif}\
main{max-width:46rem;margin:0 auto;padding:2rem 1rem 4rem;text-align:center}\
h1{font-size:1.5rem;margin:.2rem 0}p{margin:.4rem 0;color:var(--soft)}\
.passes{display:flex;flex-wrap:wrap;gap:1.25rem;justify-content:center;margin:1.5rem 0}\
.passes img{width:min(20rem,86vw);height:auto;filter:drop-shadow(0 6px 18px rgba(0,0,0,.22))}\
.add{display:inline-flex;align-items:center;gap:.7rem;background:#000;color:#fff;border:1px solid #a6a6a6;\
border-radius:.7rem;margin:.3rem 0;padding:.75rem 1.4rem;font-weight:600;font-size:1.06rem;text-decoration:none}\
.add:focus-visible{outline:3px solid #0a84ff;outline-offset:3px}\
.scan{background:var(--card);border-radius:1rem;display:table;margin:2rem auto 0;padding:1.2rem 1.5rem;max-width:21rem}\
.scan img{width:10.5rem;height:10.5rem;background:#fff;border-radius:.5rem;padding:.5rem}\
@media(max-width:40rem) and (hover:none){.scan{display:none}}";

/// A wallet, drawn by us: cards behind a pocket.
const ICON: &str = "<svg width=\"30\" height=\"24\" viewBox=\"0 0 30 24\" aria-hidden=\"true\">\
<rect width=\"30\" height=\"24\" rx=\"4\" fill=\"#d9d9de\"/><rect x=\"2\" y=\"2\" width=\"26\" height=\"9\" rx=\"2\" fill=\"#49a6de\"/>\
<rect x=\"2\" y=\"5\" width=\"26\" height=\"9\" rx=\"2\" fill=\"#f5b73c\"/><rect x=\"2\" y=\"8\" width=\"26\" height=\"9\" rx=\"2\" fill=\"#61b958\"/>\
<path d=\"M2 12h8c1 0 1.6.6 2 1.5.6 1.4 1.6 2 3 2s2.400-.6 3-2c.4-.9 1-1.500 2-1.500h8v8a2 2 0 0 1-2 2H4a2 2 0 0 1-2-2z\" fill=\"#e8e8ed\"/></svg>";

/// The languages that a browser wants, in its order, with their regions.
pub(super) fn languages(accepted: &str) -> Vec<String> {
    let tags = accepted.split(',').filter_map(|one| one.split(';').next()).map(str::trim);
    tags.filter(|tag| !tag.is_empty() && *tag != "*").take(10).map(str::to_owned).collect()
}

/// The language that a browser wants most, without its region.
pub(super) fn wanted(accepted: &str) -> &str {
    accepted.split([',', ';', '-']).next().map(str::trim).filter(|language| !language.is_empty()).unwrap_or("en")
}

fn words(accepted: &str) -> &'static Words {
    let language = wanted(accepted).to_ascii_lowercase();
    WORDS.iter().find(|words| words.language == language).unwrap_or(&WORDS[0])
}

/// The page of a link that opens.
pub(super) fn page(link: &str, passes: &[Shown], accepted: &str, google: bool) -> String {
    let words = words(accepted);
    let (title, lead) = match passes {
        [one] => (one.organization.clone(), one.description.clone()),
        several => {
            let first = several.first().map(|shown| shown.organization.clone()).unwrap_or_default();
            (first, several.iter().map(|shown| shown.description.as_str()).collect::<Vec<_>>().join(" · "))
        }
    };
    let pictures: String = passes
        .iter()
        .enumerate()
        .map(|(number, shown)| {
            format!("<img src=\"/get/{link}/front/{number}.svg\" alt=\"{}\">", escaped(&shown.description))
        })
        .collect();
    let google: String = (0..passes.len())
        .filter(|_| google)
        .map(|number| {
            format!(
                "<div><a class=\"add\" rel=\"nofollow\" href=\"/get/{link}/google/{number}\">{}</a></div>",
                words.google
            )
        })
        .collect();
    let (file, add) = if passes.len() > 1 { ("passes.pkpasses", words.add_all) } else { ("pass.pkpass", words.add) };
    format!(
        "<!doctype html><html lang=\"{}\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><meta name=\"robots\" content=\"noindex\">\
         <title>{title}</title><style>{STYLE}</style></head><body><main><h1>{title}</h1><p>{lead}</p>\
         <div class=\"passes\">{pictures}</div>\
         <div><a class=\"add\" href=\"/get/{link}/{file}\">{ICON}<span>{add}</span></a></div>{google}\
         <div class=\"scan\"><img src=\"/get/{link}/qr.svg\" alt=\"QR\"><p>{}</p>\
         <p><a href=\"/get/{link}/{file}\">{}</a></p></div></main></body></html>",
        words.language,
        words.scan,
        words.other,
        title = escaped(&title),
        lead = escaped(&lead),
    )
}

/// The page of a link that opens nothing.
pub(super) fn refusal(message: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>Wallet</title><style>{STYLE}</style></head><body><main><h1>{}</h1></main></body></html>",
        escaped(message)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_a_pass_is_never_html_and_the_language_is_the_visitors() {
        let shown = Shown { organization: "<script>".to_owned(), description: "\"A & B\"".to_owned() };
        let page = page("L", &[shown], "de-AT,en;q=0.5", true);
        assert!(!page.contains("<script") && page.contains("&lt;script&gt;") && page.contains("&quot;A &amp; B&quot;"));
        assert!(page.contains("Zu Apple Wallet hinzufügen") && page.contains("/get/L/google/0"));
        assert!(page.contains("lang=\"de\""));
        assert_eq!((wanted(""), wanted("pt-BR"), wanted("fr;q=1")), ("en", "pt", "fr"));
    }
}
