//! The contact scenarios through a broker.

use serde_json::json;
use tidings_handlers::contacts::{self, Contacts, Limits};
use tidings_handlers::runtime::dead_letters;
use tidings_shared::clock::Clock;

use crate::support::{Handlers, Mosquitto, Phone, until};

#[tokio::test]
async fn a_contact_is_asked_for_accepted_and_listed() {
    for database in tidings_shared::storage::testing::databases().await {
        let broker = Mosquitto::start().await;
        let state = Contacts {
            database: database.clone(),
            clock: Clock::manual(1_767_225_600_000),
            limits: Limits { contacts: 10, requests: 10 },
        };
        let handlers = Handlers::start(contacts::router().with_state(state), &database, &broker).await;
        let mut one =
            Phone::connect(&broker, "68946", &["68946_contact_approved", "68946_contact_list", "68946_contact_error"])
                .await;
        let mut other = Phone::connect(&broker, "23412", &["23412_contact_requested"]).await;

        one.send("request_contact", r#"{"user":"23412"}"#, "m1").await;
        let asked = other.next().await;
        assert_eq!(
            (asked.topic.as_str(), asked.json()),
            ("23412_contact_requested", json!({"user":"68946","at":1_767_225_600_000_i64}))
        );

        other.send("accept_contact", r#"{"user":"68946"}"#, "m2").await;
        let approved = one.next().await;
        assert_eq!(
            (approved.topic.as_str(), approved.json()),
            ("68946_contact_approved", json!({"user":"23412","at":1_767_225_600_000_i64}))
        );

        one.send("get_contact_list", "", "m3").await;
        let list = one.next().await;
        assert_eq!(list.topic, "68946_contact_list");
        assert_eq!(
            list.json(),
            json!({"contacts":[{"user":"23412","since":1_767_225_600_000_i64}],"requests_in":[],"requests_out":[],"at":1_767_225_600_000_i64})
        );

        one.send("request_contact", r#"{"user":"#, "m4").await;
        let error = one.next().await;
        assert_eq!(error.topic, "68946_contact_error");
        assert_eq!(error.json()["error"]["code"], "payload_invalid");
        until("the message is kept", async || dead_letters::count(&database).await.unwrap() == 1).await;
        handlers.stop().await;
    }
}
