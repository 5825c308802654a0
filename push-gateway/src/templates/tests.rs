use std::collections::BTreeMap;

use serde_json::{Value, json};
use tidings_shared::push_api::Template;

use super::*;

fn template(body: Value) -> Template {
    serde_json::from_value(body).unwrap()
}

fn faults(body: Value) -> String {
    Compiled::new(&template(body)).unwrap_err().to_string()
}

fn params(body: Value) -> BTreeMap<String, Value> {
    serde_json::from_value(body).unwrap()
}

fn messages() -> Template {
    template(json!({
        "default_locale": "en",
        "locales": {
            "en": "-brand = Tidings\ntitle = { -brand }\nbody =\n    { $count ->\n        [one] One message\n       *[other] { $count } messages\n    } from { $sender }\ndata =\n    .sender = { $sender }\n",
            "de-at": "title = Tidings\nbody = { $count ->\n    [one] Eine Nachricht\n   *[other] { $count } Nachrichten\n    } von { $sender }\n",
        },
        "push": {"data": {"screen": "inbox"}},
    }))
}

#[test]
fn each_language_has_its_words_and_its_plural() {
    let compiled = Compiled::new(&messages()).unwrap();
    assert_eq!(compiled.params(), ["count", "sender"]);
    let render = |locale, count| {
        let (chosen, _, push) =
            compiled.render_for(locale, &params(json!({"count": count, "sender": "Ánna"}))).unwrap();
        (chosen, serde_json::to_value(push).unwrap())
    };
    let (locale, push) = render(Some("en-GB"), 1);
    assert_eq!((locale.as_str(), &push["body"]), ("en", &json!("One message from Ánna")));
    assert_eq!(push["data"], json!({"screen": "inbox", "sender": "Ánna"}));
    assert_eq!(push["title"], "Tidings");
    assert_eq!(render(Some("de"), 3).1["body"], "3 Nachrichten von Ánna");
    assert_eq!(render(None, 2).0, "en");
    let all = compiled.render(&params(json!({"count": 1, "sender": "b"}))).unwrap();
    assert_eq!(all.pushes.keys().collect::<Vec<_>>(), ["de-AT", "en"]);
    assert_eq!(all.pushes["en"], all.default);
    let stored = serde_json::to_string(&all.pushes).unwrap();
    assert_eq!(pick(&stored, Some("de-CH")).unwrap().as_ref(), Some(&all.pushes["de-AT"]));
    assert_eq!(pick(&stored, Some("fr")).unwrap(), None);
}

#[test]
fn faults_name_language_line_and_message() {
    for (source, parts) in [
        ("title = Hello\nbody = { $count\n", &["en, line 2, message `body`"][..]),
        ("title = { -brand }\n", &["en, line 1, message `title`", "no term `-brand`"]),
        ("title = a\n\nbody = { DATETIME($x) }\n", &["line 3, message `body`", "DATETIME"]),
        ("body = a\n", &["`title` is missing"]),
        ("title = a\ndata = b\n    .c = d\n", &["message `data`"]),
        ("title = a\nbody = b\n    .c = d\n", &["line 2, message `body`", "only `data`"]),
        ("title = a\ntitle = b\n", &["title"]),
        ("title = a\nno-such-field = b\n", &["no_such_field"]),
    ] {
        let found = faults(json!({"default_locale": "en", "locales": {"en": source}}));
        assert!(parts.iter().all(|part| found.contains(part)), "{source:?}: {found}");
    }
    let good = json!({"en": "title = a"});
    assert!(faults(json!({"default_locale": "de", "locales": good})).contains("\"de\""));
    assert!(faults(json!({"default_locale": "en", "locales": {}})).contains("found 0"));
    assert!(faults(json!({"default_locale": "en", "locales": {"en_US": "title = a"}})).contains("en_US"));
    assert!(faults(json!({"default_locale": "en", "locales": good, "push": {"title": "x"}})).contains("title"));
    assert!(faults(json!({"default_locale": "en", "locales": good, "push": {"colour": "x"}})).contains("colour"));
}

#[test]
fn variables_are_exactly_those_of_the_template() {
    let compiled = Compiled::new(&messages()).unwrap();
    let told = |body: Value| compiled.render(&params(body)).unwrap_err().to_string();
    assert!(told(json!({"count": 1})).contains("\"sender\""));
    assert!(told(json!({"count": 1, "sender": "a", "coutn": 2})).contains("coutn"));
    assert!(told(json!({"count": [1], "sender": "a"})).contains("count"));
    let large = compiled.render(&params(json!({"count": 9_007_199_254_740_993_i64, "sender": "a"}))).unwrap();
    assert!(serde_json::to_string(&large.default).unwrap().contains("9007199254740993 messages"));
}

#[test]
fn a_template_is_compiled_once_for_each_revision() {
    let cache = Cache::default();
    let mut stored = store::Stored { name: "m".to_owned(), template: messages(), revision: 1, updated_at: 0 };
    let first = cache.compiled(&stored).unwrap();
    assert!(Arc::ptr_eq(&first, &cache.compiled(&stored).unwrap()));
    stored.revision = 2;
    assert!(!Arc::ptr_eq(&first, &cache.compiled(&stored).unwrap()));
}
