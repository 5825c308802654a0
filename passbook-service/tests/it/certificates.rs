//! Promises: what signs which type, and until when, can be asked.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{PASS_TYPE, Running};

#[tokio::test]
async fn the_certificates_of_each_type_are_shown() {
    let service = Running::on_sqlite(&[("wallet.types.\"order.dev.tidings.shop\".team", "SHOPTEAM")]).await;
    let ask =
        async || service.api(Method::GET, "/api/certificates").send().await.unwrap().json::<Value>().await.unwrap();
    let answer = ask().await;
    let types = answer["types"].as_array().unwrap();
    assert_eq!(types.len(), 2);
    assert_eq!((&types[0]["typeIdentifier"], &types[0]["kind"]), (&json!(PASS_TYPE), &json!("pass")));
    assert_eq!((&types[1]["teamIdentifier"], &types[1]["kind"]), (&json!("SHOPTEAM"), &json!("order")));
    let certificate = &types[0]["certificates"][0];
    assert_eq!((&certificate["state"], &certificate["endsSoon"]), (&json!("signing"), &json!(false)));
    assert_eq!(certificate["fingerprint"].as_str().unwrap().len(), 64);
    assert_eq!(certificate["until"], types[0]["signsUntil"]);
    // 370 days later its end is near; 400 days later it has come, and nothing signs any more.
    service.clock.advance(370 * 86_400_000);
    assert_eq!(ask().await.pointer("/types/0/certificates/0/endsSoon"), Some(&json!(true)));
    service.clock.advance(30 * 86_400_000);
    let answer = ask().await;
    assert_eq!(answer.pointer("/types/0/certificates/0/state"), Some(&json!("ended")));
    assert_eq!(answer.pointer("/types/0/signsUntil"), Some(&Value::Null));
}
