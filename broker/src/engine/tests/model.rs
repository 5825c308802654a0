//! The engine against a model that is slow and plain: a list of subscriptions, and for each message a look at every one
//! of them. Random operations on both; then each client must have got exactly what the model says, in its order.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rmqtt_codec::types::Publish;
use rmqtt_codec::v5::SubscriptionOptions;
use tidings_shared::topic::access::Principal;

use super::harness::*;
use crate::engine::ConnId;

const TOPICS: [&str; 6] = ["42/a", "42/b", "42/a/c", "42_x", "ping", "a/b"];
const FILTERS: [&str; 9] = ["42/a", "42/+", "42/#", "42_x", "#", "+/+", "+", "ping", "42/+/c"];
const SHARED: [&str; 3] = ["$share/g/#", "$share/g/ping", "$share/h/+/+"];

#[derive(Clone, Debug)]
enum Step {
    Connect(usize),
    Drop(usize),
    Subscribe { client: usize, filter: usize, qos: u8, no_local: bool },
    Share { client: usize, filter: usize, qos: u8 },
    Unsubscribe { client: usize, filter: usize },
    Publish { client: usize, topic: usize, qos: u8, expiry_s: Option<u32> },
    Acknowledge(usize),
    Pass(i64),
}

/// Clients 0 to 3 are devices of user 42 (two of them keep their sessions), 4 to 7 handlers (likewise); 6 and 7 join
/// groups.
fn login(client: usize) -> Login {
    let name = format!("c{client}");
    let login = if client < 4 { Login::new(device("42"), &name) } else { Login::handler(&name) };
    if client.is_multiple_of(2) { login.persistent() } else { login }
}

fn is_device(client: usize) -> bool {
    client < 4
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0usize..8;
    prop_oneof![
        2 => client.clone().prop_map(Step::Connect),
        1 => client.clone().prop_map(Step::Drop),
        3 => (client.clone(), 0..FILTERS.len(), 0u8..3, any::<bool>())
            .prop_map(|(client, filter, qos, no_local)| Step::Subscribe { client, filter, qos, no_local }),
        1 => (6usize..8, 0..SHARED.len(), 1u8..3)
            .prop_map(|(client, filter, qos)| Step::Share { client, filter, qos }),
        1 => (client.clone(), 0..FILTERS.len()).prop_map(|(client, filter)| Step::Unsubscribe { client, filter }),
        8 => (client.clone(), 0..TOPICS.len(), 0u8..3, prop_oneof![4 => Just(None), 1 => (1u32..4).prop_map(Some)])
            .prop_map(|(client, topic, qos, expiry_s)| Step::Publish { client, topic, qos, expiry_s }),
        3 => client.prop_map(Step::Acknowledge),
        1 => (100i64..3_000).prop_map(Step::Pass),
    ]
}

/// What the model keeps about a client.
#[derive(Default)]
struct Plain {
    conn: Option<ConnId>,
    /// Filter, QoS, no local.
    subscriptions: BTreeMap<String, (u8, bool)>,
    /// What it must get, in this order: payload, QoS, when it expires.
    due: Vec<(String, u8, i64)>,
    got: Vec<(String, u8)>,
}

struct Model {
    bench: Bench,
    clients: Vec<Plain>,
    /// By group: the payloads that some member must get, and those that may have expired.
    shared: BTreeMap<String, Vec<String>>,
    members: BTreeMap<String, Vec<usize>>,
    /// Who has ever been a member: what it got as one is told from the rest by nothing.
    shares: BTreeSet<usize>,
    count: usize,
}

/// The rule of topics for a step of the model, written down once more and plainly.
fn may_publish(client: usize, topic: &str) -> bool {
    !is_device(client) || !topic.starts_with("42")
}

fn may_subscribe(client: usize, filter: &str) -> bool {
    !is_device(client) || filter.starts_with("42")
}

fn plain_match(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) => true,
        ([], []) => true,
        (["+", filter @ ..], [_, topic @ ..]) => plain_match(filter, topic),
        ([level, filter @ ..], [name, topic @ ..]) => level == name && plain_match(filter, topic),
        _ => false,
    }
}

fn matches(filter: &str, topic: &str) -> bool {
    plain_match(&filter.split('/').collect::<Vec<_>>(), &topic.split('/').collect::<Vec<_>>())
}

impl Model {
    fn new() -> Self {
        let clients = (0..8).map(|_| Plain::default()).collect();
        Self {
            bench: Bench::new(),
            clients,
            shared: BTreeMap::new(),
            members: BTreeMap::new(),
            shares: BTreeSet::new(),
            count: 0,
        }
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Connect(client) => self.connect(client),
            Step::Drop(client) => self.drop(client),
            Step::Subscribe { client, filter, qos, no_local } => {
                let filter = FILTERS[filter];
                let Some(conn) = self.clients[client].conn else { return };
                let options = SubscriptionOptions { no_local, ..options(qos) };
                self.collect(client);
                self.bench.subscribe_with(conn, filter, options, 0);
                if may_subscribe(client, filter) {
                    self.clients[client].subscriptions.insert(filter.to_owned(), (qos, no_local));
                }
            }
            Step::Share { client, filter, qos } => {
                let filter = SHARED[filter];
                let Some(conn) = self.clients[client].conn else { return };
                self.collect(client);
                self.bench.subscribe_with(conn, filter, options(qos), 0);
                let members = self.members.entry(filter.to_owned()).or_default();
                members.retain(|member| *member != client);
                members.push(client);
                self.shares.insert(client);
                self.shared.entry(filter.to_owned()).or_default();
            }
            Step::Unsubscribe { client, filter } => {
                let Some(conn) = self.clients[client].conn else { return };
                self.collect(client);
                self.bench.unsubscribe(conn, FILTERS[filter]);
                self.clients[client].subscriptions.remove(FILTERS[filter]);
            }
            Step::Publish { client, topic, qos, expiry_s } => self.publish(client, TOPICS[topic], qos, expiry_s),
            Step::Acknowledge(client) => self.collect(client),
            Step::Pass(ms) => {
                // Whoever is connected takes what there is before time makes it expire.
                (0..8).for_each(|client| self.collect(client));
                self.bench.pass(ms);
            }
        }
        // What a member of a group leaves behind goes to the others a moment later.
        self.bench.tick();
    }

    fn connect(&mut self, client: usize) {
        self.drop(client);
        let conn = self.bench.connect(&login(client));
        self.clients[client].conn = Some(conn);
        let now = self.bench.clock.now_ms();
        // What has expired meanwhile is not for it any more.
        let Plain { due, got, .. } = &mut self.clients[client];
        due.retain(|(payload, _, expires)| *expires > now || got.iter().any(|(got, _)| got == payload));
    }

    fn drop(&mut self, client: usize) {
        self.collect(client);
        let Some(conn) = self.clients[client].conn.take() else { return };
        self.bench.drop_connection(conn);
        if client % 2 == 1 {
            self.clients[client].subscriptions.clear();
            for (name, members) in &mut self.members {
                members.retain(|member| *member != client);
                if members.is_empty() {
                    // The group has ended with its last member, and everything that waited for it.
                    self.shared.insert(name.clone(), Vec::new());
                }
            }
        }
    }

    fn publish(&mut self, client: usize, topic: &str, qos: u8, expiry_s: Option<u32>) {
        let Some(conn) = self.clients[client].conn else { return };
        self.count += 1;
        let payload = self.count.to_string();
        let mut packet: Publish = message(topic, &payload, qos);
        if let Some(properties) = &mut packet.properties {
            properties.message_expiry_interval = expiry_s.and_then(|s| s.try_into().ok());
        }
        self.bench.publish_packet(conn, packet);
        if let (2, Some(pid)) = (qos, std::num::NonZeroU16::new(1)) {
            self.bench.pubrel(conn, pid);
        }
        if !may_publish(client, topic) {
            return;
        }
        let expires = expiry_s.map_or(i64::MAX, |s| self.bench.clock.now_ms() + i64::from(s) * 1000);
        for (index, plain) in self.clients.iter_mut().enumerate() {
            // The second wall: what a device published as a command is for handlers.
            if is_device(client) && is_device(index) {
                continue;
            }
            let hits = plain
                .subscriptions
                .iter()
                .filter(|(filter, (_, no_local))| matches(filter, topic) && !(*no_local && index == client));
            let Some(granted) = hits.map(|(_, (granted, _))| *granted).max() else { continue };
            let lesser = granted.min(qos);
            if plain.conn.is_some() || (lesser > 0 && index.is_multiple_of(2)) {
                plain.due.push((payload.clone(), lesser, expires));
            }
        }
        for (name, members) in &self.members {
            let filter = name.splitn(3, '/').nth(2).unwrap();
            if !members.is_empty() && matches(filter, topic) && qos > 0 && expiry_s.is_none() {
                self.shared.get_mut(name).unwrap().push(payload.clone());
            }
        }
    }

    /// The client takes and acknowledges everything.
    fn collect(&mut self, client: usize) {
        let Some(conn) = self.clients[client].conn else { return };
        loop {
            let messages = self.bench.messages(conn);
            if messages.is_empty() {
                return;
            }
            for publish in messages {
                if let Some(pid) = publish.packet_id {
                    if publish.qos.value() == 1 {
                        self.bench.puback(conn, pid);
                    } else {
                        self.bench.pubrec(conn, pid);
                        self.bench.pubcomp(conn, pid);
                    }
                }
                self.clients[client].got.push((text(&publish), publish.qos.value()));
            }
        }
    }

    fn check(&mut self) {
        for client in 0..8 {
            if self.clients[client].conn.is_none() {
                self.connect(client);
            }
        }
        self.bench.pass(10);
        for _ in 0..3 {
            (0..8).for_each(|client| self.collect(client));
        }
        for client in 0..8 {
            let Plain { due, got, .. } = &self.clients[client];
            if self.shares.contains(&client) {
                continue;
            }
            let mut due: Vec<_> = due.iter().map(|(payload, qos, _)| (payload.clone(), *qos)).collect();
            let mut got = got.clone();
            // What is live only may overtake what comes from the log.
            got.sort_by_key(|(_, qos)| *qos > 0);
            due.sort_by_key(|(_, qos)| *qos > 0);
            assert_eq!(got, due, "client {client}");
        }
        for (name, wanted) in &self.shared {
            for payload in wanted {
                let takers = self.clients.iter().flat_map(|client| &client.got).filter(|(got, _)| got == payload);
                assert!(takers.count() > 0, "{name}: nobody got {payload}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn everybody_gets_what_the_model_says(steps in proptest::collection::vec(step(), 1..120)) {
        let mut model = Model::new();
        for client in [0, 1, 4, 5] {
            model.connect(client);
        }
        for step in &steps {
            model.run(step);
        }
        model.check();
    }

    /// Without plain subscriptions beside them, the members of a group get each message exactly once, all together.
    #[test]
    fn the_members_of_a_group_get_each_message_once_in_total(
        steps in proptest::collection::vec((0usize..4, 0usize..6), 1..150),
    ) {
        let mut bench = Bench::new();
        let login = |n: usize| Login::new(Principal::Handler, &format!("m{n}")).persistent();
        let mut conns: Vec<Option<ConnId>> = (0..4).map(|n| Some(bench.connect(&login(n)))).collect();
        for conn in conns.iter().flatten() {
            bench.subscribe(*conn, "$share/g/ping", 1);
        }
        let (mut sent, mut got) = (0usize, Vec::new());
        for (member, what) in steps {
            match (what, conns[member]) {
                (0, Some(conn)) => {
                    // Everything that it has is acknowledged before it goes, so nothing may come twice.
                    got.extend(bench.receive(conn));
                    bench.drop_connection(conn);
                    conns[member] = None;
                }
                (0 | 1, None) => conns[member] = Some(bench.connect(&login(member))),
                (1, Some(conn)) => got.extend(bench.receive(conn)),
                _ => {
                    sent += 1;
                    bench.http_qos("ping", &sent.to_string(), 1);
                }
            }
            bench.tick();
        }
        for (n, conn) in conns.iter_mut().enumerate() {
            conn.get_or_insert_with(|| bench.connect(&login(n)));
        }
        bench.pass(10);
        for _ in 0..3 {
            for conn in conns.iter().flatten() {
                got.extend(bench.receive(*conn));
            }
        }
        got.sort_by_key(|payload| payload.parse::<usize>().unwrap());
        let expected: Vec<String> = (1..=sent).map(|n| n.to_string()).collect();
        prop_assert_eq!(got, expected);
    }
}
