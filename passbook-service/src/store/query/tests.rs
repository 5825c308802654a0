use serde_json::json;
use tidings_shared::storage::testing::databases;

use super::*;
use crate::store::NewPass;

const TYPE: &str = "pass.a";

async fn filled(database: tidings_shared::storage::Database) -> Store {
    let store = Store::new(database);
    for (serial, template, fields, at) in [
        ("1", "card", json!({"name": "Ada", "points": 12, "vip": true}), 1_000),
        ("2", "card", json!({"name": "Ada \"Q\" ü", "points": 12.5, "a.b-c": "x"}), 2_000),
        ("3", "ticket", json!({"points": "12", "7": 7}), 3_000),
    ] {
        let pass = NewPass {
            id: PassId { pass_type: TYPE.to_owned(), serial: serial.to_owned() },
            template: template.to_owned(),
            fields: fields.as_object().unwrap().clone(),
            user_info: None,
            token_hash: "x".to_owned(),
            token_nonce: None,
            basis: "b".to_owned(),
            fingerprint: "f".to_owned(),
            state: crate::package::PassState::default(),
        };
        assert!(store.insert_pass(&pass, at).await.unwrap());
    }
    store
}

#[tokio::test]
async fn each_part_of_a_query_narrows_it_on_both_databases() {
    for database in databases().await {
        let store = filled(database).await;
        for (query, expected) in [
            (json!({}), vec!["1", "2", "3"]),
            (json!({"passType": "pass.b"}), vec![]),
            (json!({"template": "card"}), vec!["1", "2"]),
            (json!({"serials": ["3", "1", "9"]}), vec!["1", "3"]),
            (json!({"fields": {"name": "Ada"}}), vec!["1"]),
            (json!({"fields": {"name": "Ada \"Q\" ü"}}), vec!["2"]),
            (json!({"fields": {"points": 12}}), vec!["1"]),
            (json!({"fields": {"points": "12"}}), vec!["3"]),
            (json!({"fields": {"points": 12.5, "a.b-c": "x"}}), vec!["2"]),
            (json!({"fields": {"vip": true}}), vec!["1"]),
            (json!({"fields": {"name": null}}), vec!["3"]),
            (json!({"fields": {"7": 7}}), vec!["3"]),
            (json!({"voided": true}), vec![]),
            (json!({"voided": false, "registered": false}), vec!["1", "2", "3"]),
            (json!({"registered": true}), vec![]),
            (json!({"createdAfter": 2_000, "updatedBefore": 3_000}), vec!["2"]),
        ] {
            let query: PassQuery = serde_json::from_value(query).unwrap();
            query.check().unwrap();
            let found = store.find_passes(&query, None, 10).await.unwrap();
            let serials: Vec<_> = found.iter().map(|id| id.serial.as_str()).collect();
            assert_eq!(serials, expected, "{query:?}");
            assert_eq!(store.count_passes(&query).await.unwrap(), i64::try_from(expected.len()).unwrap());
            assert_eq!(serde_json::from_value::<PassQuery>(serde_json::to_value(&query).unwrap()).unwrap(), query);
        }
    }
}

#[tokio::test]
async fn pages_follow_each_other_without_gap_or_repetition() {
    for database in databases().await {
        let store = filled(database).await;
        let (mut after, mut seen) = (None, Vec::new());
        loop {
            let page = store.find_pass_rows(&PassQuery::default(), after.as_ref(), 2).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.id.clone());
            seen.extend(page.into_iter().map(|row| row.id.serial));
        }
        assert_eq!(seen, ["1", "2", "3"]);
    }
}

#[test]
fn a_query_that_cannot_be_is_told_with_its_key() {
    for (query, key) in [
        (json!({"serials": []}), "serials"),
        (json!({"fields": {"a b": 1}}), "fields"),
        (json!({"fields": {"a": [1]}}), "fields.a"),
    ] {
        let query: PassQuery = serde_json::from_value(query).unwrap();
        assert!(query.check().unwrap_err().starts_with(key));
    }
    assert!(serde_json::from_value::<PassQuery>(json!({"pastype": "x"})).is_err(), "a misspelt key is refused");
}
