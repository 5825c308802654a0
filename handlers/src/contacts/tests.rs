//! The corners of contacts, on both databases and without a broker.

use serde_json::{Value, json};
use tidings_shared::clock::Clock;
use tidings_shared::identity::UserId;
use tidings_shared::message_id::MessageId;
use tidings_shared::storage::{Database, testing};
use tower::Service as _;

use super::{Contacts, Limits, router};
use crate::runtime::{Claim, HandlerError, Message, Request, Routes};

struct World {
    routes: Routes,
    database: Database,
    clock: Clock,
    messages: u32,
}

impl World {
    async fn each() -> Vec<Self> {
        let limits = Limits { contacts: 3, requests: 2 };
        let worlds = testing::databases().await.into_iter().map(|database| {
            let clock = Clock::manual(1000);
            let state = Contacts { database: database.clone(), clock: clock.clone(), limits };
            Self { routes: router().with_state(state).build().unwrap(), database, clock, messages: 0 }
        });
        worlds.collect()
    }

    /// One message of `from`; what is published for it.
    async fn send(&mut self, from: &str, topic: &str, payload: &str) -> Vec<(String, Value)> {
        self.try_send(from, topic, payload).await.unwrap()
    }

    async fn try_send(&mut self, from: &str, topic: &str, payload: &str) -> Result<Vec<(String, Value)>, HandlerError> {
        self.messages += 1;
        self.clock.advance(1);
        let id = MessageId::new(&format!("m{}", self.messages)).unwrap();
        let message = Message::new(topic, payload.to_owned()).from(&UserId::new(from).unwrap(), "phone").with_id(&id);
        let claim = Claim::new(self.database.clone(), "handlers", id, self.clock.clone());
        let response = self.routes.call(Request::new(message).with_claim(claim)).await?;
        let publishes = response.finish().await.unwrap();
        Ok(publishes.into_iter().map(|out| (out.topic, serde_json::from_slice(&out.payload).unwrap())).collect())
    }

    async fn ask(&mut self, from: &str, whom: &str) -> Vec<(String, Value)> {
        self.send(from, "request_contact", &json!({ "user": whom }).to_string()).await
    }

    async fn accept(&mut self, by: &str, whose: &str) -> Vec<(String, Value)> {
        self.send(by, "accept_contact", &json!({ "user": whose }).to_string()).await
    }

    async fn list(&mut self, of: &str) -> Value {
        let mut answers = self.send(of, "get_contact_list", "").await;
        assert_eq!(answers[0].0, format!("{of}_contact_list"));
        answers.remove(0).1
    }
}

fn code(answers: &[(String, Value)], to: &str) -> String {
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(answers[0].0, format!("{to}_contact_error"));
    answers[0].1["error"]["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_whole_way_from_request_to_list() {
    for mut world in World::each().await {
        assert_eq!(
            world.ask("68946", "23412").await,
            [("23412_contact_requested".to_owned(), json!({"user":"68946","at":1001}))]
        );
        let (asks, asked) = (world.list("68946").await, world.list("23412").await);
        assert_eq!((&asks["requests_out"], &asks["requests_in"]), (&json!([{"user":"23412","at":1001}]), &json!([])));
        assert_eq!((&asked["requests_in"], &asked["requests_out"]), (&json!([{"user":"68946","at":1001}]), &json!([])));
        assert_eq!(
            world.accept("23412", "68946").await,
            [("68946_contact_approved".to_owned(), json!({"user":"23412","at":1004}))]
        );
        for (one, other) in [("68946", "23412"), ("23412", "68946")] {
            let list = world.list(one).await;
            assert_eq!(list["contacts"], json!([{"user":other,"since":1004}]), "both ways");
            assert_eq!((&list["requests_in"], &list["requests_out"]), (&json!([]), &json!([])));
        }
    }
}

#[tokio::test]
async fn repeating_a_step_changes_nothing_and_says_it_again() {
    for mut world in World::each().await {
        let asked = world.ask("a", "b").await;
        assert_eq!(world.ask("a", "b").await, asked, "with the time of the first request");
        let approved = world.accept("b", "a").await;
        assert_eq!(world.accept("b", "a").await, approved);
        assert_eq!(world.ask("a", "b").await, approved, "they are contacts: only the asking user hears of it");
        assert_eq!(world.ask("b", "a").await[0].0, "b_contact_approved");
        assert_eq!(world.list("a").await["contacts"].as_array().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn two_who_ask_each_other_are_contacts_at_once() {
    for mut world in World::each().await {
        world.ask("a", "b").await;
        let answers = world.ask("b", "a").await;
        assert_eq!(
            answers,
            [
                ("b_contact_approved".to_owned(), json!({"user":"a","at":1002})),
                ("a_contact_approved".to_owned(), json!({"user":"b","at":1002}))
            ]
        );
        assert_eq!(world.list("a").await["contacts"], json!([{"user":"b","since":1002}]));
    }
}

#[tokio::test]
async fn only_the_one_who_was_asked_can_accept() {
    for mut world in World::each().await {
        world.ask("a", "b").await;
        for (by, whose) in [("c", "a"), ("a", "b"), ("b", "c"), ("c", "b"), ("b", "b")] {
            assert_eq!(code(&world.accept(by, whose).await, by), "contact_request_missing", "{by} accepts {whose}");
        }
        assert_eq!(world.list("c").await["contacts"], json!([]));
        world.accept("b", "a").await;
        assert_eq!(code(&world.accept("a", "b").await, "a"), "contact_request_missing", "b never asked a");
    }
}

#[tokio::test]
async fn nobody_is_their_own_contact_and_limits_hold() {
    for mut world in World::each().await {
        assert_eq!(code(&world.ask("a", "a").await, "a"), "contact_self");
        world.ask("a", "x").await;
        world.ask("a", "y").await;
        assert_eq!(code(&world.ask("a", "z").await, "a"), "contact_limit");
        for friend in ["f1", "f2", "f3", "f4"] {
            world.ask(friend, "b").await;
        }
        for friend in ["f1", "f2", "f3"] {
            assert_eq!(world.accept("b", friend).await[0].0, format!("{friend}_contact_approved"));
        }
        assert_eq!(code(&world.accept("b", "f4").await, "b"), "contact_limit");
        assert_eq!(code(&world.ask("b", "f5").await, "b"), "contact_limit");
    }
}

#[tokio::test]
async fn a_list_is_sorted_bytewise_and_says_when_it_is_not_whole() {
    for mut world in World::each().await {
        for other in ["b", "B", "10", "9", "é"] {
            world.ask(other, "me").await;
        }
        let list = world.list("me").await;
        assert_eq!(list["requests_in"], json!([{"user":"B","at":1002},{"user":"b","at":1001}]), "the oldest two");
        assert_eq!(list["requests_in_total"], 5);
        for other in ["é", "b", "10"] {
            world.accept("me", other).await;
        }
        let list = world.list("me").await;
        let order: Vec<_> =
            list["contacts"].as_array().unwrap().iter().map(|contact| contact["user"].as_str().unwrap()).collect();
        assert_eq!(order, ["10", "b", "é"]);
    }
}

#[tokio::test]
async fn ids_with_separators_reach_their_own_topics_only() {
    for mut world in World::each().await {
        let asked = world.ask("42_3", "a/b#").await;
        assert_eq!(asked[0].0, "a%2Fb%23_contact_requested");
        assert_eq!(asked[0].1["user"], "42_3");
        assert_eq!(world.accept("a/b#", "42_3").await[0].0, "42%5F3_contact_approved");
    }
}

#[tokio::test]
async fn a_payload_that_names_nobody_is_told_and_permanent() {
    for mut world in World::each().await {
        let error = world.try_send("a", "request_contact", "{\"user\":").await.unwrap_err();
        assert_eq!(error.when_to_retry(), crate::runtime::Retry::Never);
        let answer: Value = serde_json::from_slice(&error.answers()[0].payload).unwrap();
        assert_eq!(error.answers()[0].topic, "a_contact_error");
        assert_eq!(
            (answer["error"]["code"].as_str(), answer["topic"].as_str()),
            (Some("payload_invalid"), Some("request_contact"))
        );
    }
}

/// Requests that cross each other at the same moment meet: never two open requests, never a one-sided contact.
#[tokio::test]
async fn crossing_requests_meet() {
    for world in World::each().await {
        for round in 0..10 {
            let (one, other) = (format!("a{round}"), format!("b{round}"));
            let ask = async |from: &str, whom: &str| {
                let mut world = World {
                    routes: world.routes.clone(),
                    database: world.database.clone(),
                    clock: world.clock.clone(),
                    messages: 0,
                };
                let id = MessageId::new(&format!("{from}-{whom}")).unwrap();
                let message =
                    Message::new("request_contact", whom.to_owned()).from(&UserId::new(from).unwrap(), "phone");
                let claim = Claim::new(world.database.clone(), "handlers", id, world.clock.clone());
                world.routes.call(Request::new(message).with_claim(claim)).await.unwrap().finish().await.unwrap().len()
            };
            let (first, second) = tokio::join!(ask(&one, &other), ask(&other, &one));
            assert_eq!(first + second, 3, "one hears of a request, then both of the contact");
        }
    }
}
