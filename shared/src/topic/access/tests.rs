//! Each test states a promise of the access rules.

use proptest::prelude::*;

use super::*;

#[derive(Default)]
struct World {
    users: Vec<&'static str>,
    listens: Vec<&'static str>,
    commands: Vec<&'static str>,
}

impl Facts for World {
    fn is_known_user(&self, user: &UserId) -> bool {
        self.users.contains(&user.as_str())
    }
    fn handler_listens(&self, topic: &str) -> bool {
        self.listens.contains(&topic)
    }
    fn is_configured_command(&self, topic: &str) -> bool {
        self.commands.contains(&topic)
    }
}

fn device(id: &str) -> Principal {
    Principal::Device { user: UserId::new(id).unwrap(), acl: Acl::default() }
}

fn publish(principal: &Principal, topic: &str) -> Decision {
    decide_publish(principal, topic, &World::default())
}

#[test]
fn a_device_publishes_commands_and_nobodys_topics() {
    let phone = device("68946");
    for topic in ["request_contact", "ping", "chat/send", "do_work", "été"] {
        assert_eq!(publish(&phone, topic), Decision::allow(Rule::Command), "{topic}");
    }
    for topic in ["23412_contact_requested", "23412/x", "42%5F3_x", "550e8400-e29b_x", "a@b.c/x"] {
        assert_eq!(publish(&phone, topic), Decision::deny(Rule::OtherUser), "{topic}");
    }
    for topic in ["68946_contact_list", "68946/x", "68946"] {
        assert_eq!(publish(&phone, topic), Decision::deny(Rule::OwnTopicIsForHandlers), "{topic}");
    }
    for topic in ["$SYS/x", "$share/g/x", "$tidings/events/unacked"] {
        assert_eq!(publish(&phone, topic), Decision::deny(Rule::Reserved), "{topic}");
    }
    for topic in ["", "a/+", "#", "a\0"] {
        assert_eq!(publish(&phone, topic), Decision::deny(Rule::Malformed), "{topic}");
    }
}

#[test]
fn a_known_user_with_a_word_for_an_id_is_protected_too() {
    let world = World { users: vec!["alice"], ..World::default() };
    assert_eq!(decide_publish(&device("bob"), "alice_inbox", &world), Decision::deny(Rule::OtherUser));
    assert_eq!(decide_publish(&device("bob"), "alice/inbox", &world), Decision::deny(Rule::OtherUser));
}

#[test]
fn a_user_named_like_a_command_stops_nobody() {
    let world = World { users: vec!["request", "order"], listens: vec!["order_new"], commands: vec!["v2/order"] };
    assert!(decide_publish(&device("68946"), "request_contact", &world).allowed);
    assert!(decide_publish(&device("68946"), "order_new", &world).allowed);
    assert!(decide_publish(&device("68946"), "v2/order", &world).allowed);
}

#[test]
fn a_handler_that_watches_a_users_topic_does_not_open_it() {
    let world = World { listens: vec!["23412_contact_requested"], ..World::default() };
    let decision = decide_publish(&device("68946"), "23412_contact_requested", &world);
    assert_eq!(decision, Decision::deny(Rule::OtherUser));
}

#[test]
fn a_device_subscribes_to_its_own_topics_only() {
    let phone = device("42");
    for filter in ["42_inbox", "42/#", "42/+/x", "42", "42_a/#", "$share/g/42_inbox"] {
        assert_eq!(decide_subscribe(&phone, filter), Decision::allow(Rule::OwnTopic), "{filter}");
    }
    for filter in
        ["#", "+", "+/x", "43_inbox", "421/#", "42%5F3_inbox", "request_contact", "$share/g/43_inbox", "$share/g/#"]
    {
        assert_eq!(decide_subscribe(&phone, filter), Decision::deny(Rule::NotOwnTopic), "{filter}");
    }
    for filter in ["$SYS/#", "$tidings/events/unacked", "$share/g/$SYS/#"] {
        assert_eq!(decide_subscribe(&phone, filter), Decision::deny(Rule::Reserved), "{filter}");
    }
    for filter in ["", "a#", "$share/g", "$share//x", "42_#"] {
        assert_eq!(decide_subscribe(&phone, filter), Decision::deny(Rule::Malformed), "{filter}");
    }
}

#[test]
fn the_acl_claim_adds_and_both_of_its_forms_are_read() {
    let acl: Acl = serde_json::from_str(r#"{"publish":["room/+"],"subscribe":["room/#"]}"#).unwrap();
    let phone = Principal::Device { user: UserId::new("7").unwrap(), acl };
    assert_eq!(publish(&phone, "room/5"), Decision::allow(Rule::Acl));
    assert_eq!(decide_subscribe(&phone, "room/+/x"), Decision::allow(Rule::Acl));
    assert_eq!(decide_subscribe(&phone, "#"), Decision::deny(Rule::NotOwnTopic));
    let both: Acl = serde_json::from_str(r#"["news/#"]"#).unwrap();
    assert_eq!(both, Acl { publish: vec!["news/#".into()], subscribe: vec!["news/#".into()] });
    assert!(serde_json::from_str::<Acl>(r#""news""#).is_err());
}

#[test]
fn a_grant_never_opens_the_reserved_topics() {
    let acl = Acl { publish: vec!["#".into(), "$tidings/#".into()], subscribe: vec!["$tidings/#".into()] };
    let phone = Principal::Device { user: UserId::new("7").unwrap(), acl };
    assert!(!publish(&phone, "$tidings/events/unacked").allowed);
    assert!(!decide_subscribe(&phone, "$tidings/events/unacked").allowed);
}

#[test]
fn handlers_may_all_but_forge_events() {
    assert!(publish(&Principal::Handler, "68946_contact_list").allowed);
    for topic in ["$tidings/events/unacked", "$tidings", "$share/g/x", "$SYS/broker/uptime", "$queue/x"] {
        assert_eq!(publish(&Principal::Handler, topic), Decision::deny(Rule::Reserved), "{topic}");
    }
    for topic in ["$internal/x", "$", "$tidingsx/y", "$sys"] {
        assert!(publish(&Principal::Handler, topic).allowed, "{topic}");
        assert_eq!(publish(&device("68946"), topic), Decision::deny(Rule::Reserved), "{topic}");
        assert!(decide_subscribe(&Principal::Handler, topic).allowed, "{topic}");
        assert_eq!(decide_subscribe(&device("68946"), topic), Decision::deny(Rule::Reserved), "{topic}");
    }
    assert_eq!(decide_subscribe(&Principal::Handler, "$queue/x"), Decision::deny(Rule::Reserved));
    assert!(decide_subscribe(&Principal::Handler, "$share/g/#").allowed);
    assert!(decide_subscribe(&Principal::Handler, "$tidings/events/unacked").allowed);
}

proptest! {
    #[test]
    fn no_pair_of_users_shares_a_topic(a in "[a-z0-9_/%+#$é]{1,8}", b in "[a-z0-9_/%+#$é]{1,8}", name in "[a-z_/]{0,6}") {
        prop_assume!(a != b);
        let (alice, bob) = (UserId::new(&a).unwrap(), UserId::new(&b).unwrap());
        for topic in [crate::topic::user_topic(&alice, &name), format!("{}/{name}", alice.topic_prefix())] {
            let as_alice = Principal::Device { user: alice.clone(), acl: Acl::default() };
            let as_bob = Principal::Device { user: bob.clone(), acl: Acl::default() };
            let (alices, bobs) = (decide_subscribe(&as_alice, &topic).allowed, decide_subscribe(&as_bob, &topic).allowed);
            prop_assert!(alices && !bobs, "{}", topic);
        }
    }
}
