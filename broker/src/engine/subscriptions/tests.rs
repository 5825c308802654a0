//! The index gives exactly the subscriptions whose filters match, as a list of all filters would.

use std::collections::BTreeSet;

use proptest::prelude::*;
use tidings_shared::topic;

use super::*;
use crate::engine::session::{Owner, Session};
use crate::engine::sessions::Sessions;
use crate::log::Offset;

fn sessions(count: usize) -> Vec<SessionId> {
    let mut all = Sessions::new(Seeded(1));
    let new = |n: usize| Session::new(Owner::Handlers, format!("{n}").into(), 0, Offset::START);
    (0..count).map(|n| all.insert(new(n))).collect()
}

fn entry(session: SessionId, qos: QoS) -> Entry {
    let options = SubscriptionOptions { qos, ..Default::default() };
    Entry { target: Target::Session(session), options: Options::new(&options, true, false), id: 0 }
}

fn level() -> impl Strategy<Value = &'static str> {
    prop_oneof![4 => Just("a"), 4 => Just("b"), 1 => Just(""), 3 => Just("+"), 1 => Just("$x"), 1 => Just("été")]
}

fn filter() -> impl Strategy<Value = String> {
    (proptest::collection::vec(level(), 1..5), any::<bool>()).prop_map(|(mut levels, rest)| {
        if rest {
            levels.push("#");
        }
        levels.join("/")
    })
}

fn topic_name() -> impl Strategy<Value = String> {
    proptest::collection::vec(
        prop_oneof![4 => Just("a"), 4 => Just("b"), 1 => Just(""), 1 => Just("$x"), 1 => Just("été")],
        1..5,
    )
    .prop_map(|levels| levels.join("/"))
}

proptest! {
    #[test]
    fn the_index_matches_like_a_list_of_filters(
        steps in proptest::collection::vec((0usize..24, filter(), any::<bool>()), 1..120),
        topics in proptest::collection::vec(topic_name(), 1..20),
    ) {
        let ids = sessions(24);
        let mut index = Index::new(Seeded(7));
        let mut list: BTreeSet<(SessionId, String)> = BTreeSet::new();
        for (session, filter, add) in steps {
            if !topic::valid_filter(&filter) {
                continue;
            }
            let id = ids[session];
            if add {
                index.insert(&filter.as_str().into(), entry(id, QoS::AtLeastOnce));
                list.insert((id, filter));
            } else {
                index.remove(&filter, Target::Session(id));
                list.remove(&(id, filter));
            }
        }
        for name in topics.iter().filter(|name| topic::valid_topic(name)) {
            let mut hits = Vec::new();
            index.collect(name, &mut hits);
            let mut found: Vec<Target> = hits.iter().map(|hit| hit.target).collect();
            let runs = found.chunk_by(|a, b| a == b).count();
            prop_assert_eq!(runs, found.iter().collect::<BTreeSet<_>>().len(), "one target's are side by side");
            let mut wanted: Vec<Target> =
                list.iter().filter(|(_, filter)| topic::matches(filter, name)).map(|(id, _)| Target::Session(*id)).collect();
            found.sort_unstable();
            wanted.sort_unstable();
            prop_assert_eq!(found, wanted);
            let listens = list.iter().any(|(_, filter)| !filter.starts_with(['+', '#']) && topic::matches(filter, name));
            prop_assert_eq!(index.handler_listens(name), listens);
        }
        for (id, filter) in list {
            index.remove(&filter, Target::Session(id));
        }
        prop_assert!(index.exact.is_empty());
        prop_assert!(index.root.children.is_none() && index.root.plus.is_none());
    }
}

#[test]
fn many_subscribers_of_one_filter_can_be_replaced_and_removed() {
    let ids = sessions(3 * FEW);
    let mut index = Index::new(Seeded(7));
    let filter: Arc<str> = "news".into();
    for id in &ids {
        index.insert(&filter, entry(*id, QoS::AtMostOnce));
        index.insert(&filter, entry(*id, QoS::ExactlyOnce));
    }
    let mut hits = Vec::new();
    index.collect("news", &mut hits);
    assert_eq!(hits.len(), ids.len());
    assert!(hits.iter().all(|hit| hit.options.qos() == QoS::ExactlyOnce));
    for id in ids {
        index.remove(&filter, Target::Session(id));
    }
    assert!(index.exact.is_empty());
}

#[test]
fn options_keep_what_they_are_given() {
    let given = SubscriptionOptions { qos: QoS::ExactlyOnce, no_local: true, ..Default::default() };
    let options = Options::new(&given, false, true);
    assert_eq!(options.qos(), QoS::ExactlyOnce);
    assert!(options.no_local() && !options.retain_as_published() && !options.by_handler());
    let other = Options::new(&SubscriptionOptions { retain_as_published: true, ..Default::default() }, false, false);
    let both = options.union(other);
    assert_eq!(both.qos(), QoS::ExactlyOnce);
    assert!(both.retain_as_published());
}
