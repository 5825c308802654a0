//! One history: its passes, its devices, and what happens to them.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tidings_shared::clock::Clock;
use tidings_simulators::inbox::{Provider, Push};
use tidings_simulators::wallet::{Complaint, PassId, Personal, WalletDevice};

use super::judge::{History, Occasion};
use super::network::{Manner, OnItsWay};
use super::stage::{PROCESSES, Stage};
use crate::support::PASS_TYPE;

const PASSES: usize = 4;
const DEVICES: usize = 3;

/// A pass, and what its latest change said.
struct Card {
    serial: String,
    points: i64,
}

/// A device, and what the history knows of it.
struct Phone {
    wallet: WalletDevice,
    /// How many of its lines were looked at.
    judged: usize,
    /// A push of its has not arrived and never will.
    missed: bool,
    /// The push that came last.
    last: Option<OnItsWay>,
}

/// A history under way.
pub(super) struct World<'a> {
    pub(super) stage: &'a mut Stage,
    pub(super) random: StdRng,
    pub(super) history: History,
    /// Whether anything may happen in the middle of anything else.
    wild: bool,
    /// Nothing happens any more in the middle of anything.
    ending: bool,
    cards: Vec<Card>,
    /// Passes whose holders have signed up.
    members: usize,
    phones: Vec<Phone>,
    trace: Vec<String>,
}

impl<'a> World<'a> {
    pub(super) async fn begin(stage: &'a mut Stage, seed: u64, wild: bool) -> Self {
        let history = History::new(stage.network.ticks.clone());
        stage.network.keep_one(!wild);
        let phones = (0..DEVICES).map(|_| {
            let mut wallet = WalletDevice::new(stage.client.clone(), Clock::system());
            wallet.trust(stage.root());
            Phone { wallet, judged: 0, missed: false, last: None }
        });
        let phones = phones.collect();
        let cards = (0..PASSES).map(|number| Card { serial: format!("{seed}.{number}"), points: 0 }).collect();
        let random = StdRng::seed_from_u64(seed);
        let mut world =
            Self { stage, random, history, wild, ending: false, cards, members: 0, phones, trace: Vec::new() };
        for number in 0..PASSES {
            let fields = json!({"points": 0, "name": "Ada"});
            let body = json!({"template": "example", "serial": world.cards[number].serial, "fields": fields});
            let (status, answer) = world.stage.api(Method::POST, "/api/passes", Some(&body)).await;
            assert_eq!(status, StatusCode::CREATED, "{}", String::from_utf8_lossy(&answer));
            world.add(number % DEVICES, number).await;
        }
        world
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.random.random_range(0..limit)
    }

    fn note(&mut self, what: String) {
        self.trace.push(what);
    }

    /// What happened, for a history that failed.
    pub(super) fn trace(&self) -> String {
        self.trace.join("\n")
    }

    fn path(&self, card: usize) -> String {
        format!("/api/passes/{PASS_TYPE}/{}", self.cards[card].serial)
    }

    fn id(&self, card: usize) -> PassId {
        PassId { pass_type: PASS_TYPE.to_owned(), serial: self.cards[card].serial.clone() }
    }

    /// Changes a pass; its devices are to hear of it.
    pub(super) async fn change(&mut self, card: usize) {
        let points = self.cards[card].points + 1;
        self.note(format!("pass {card} changes to {points}"));
        self.cards[card].points = points;
        let change = self.history.change_begins(&self.cards[card].serial);
        let status = patch(self.stage, &self.path(card), points).await;
        if status == StatusCode::OK {
            self.history.change_is_listed(change);
        }
    }

    /// Writes what is there already; nobody is to hear of it.
    pub(super) async fn change_nothing(&mut self, card: usize) {
        self.note(format!("pass {card} is written as it is"));
        let points = self.cards[card].points;
        let (status, answer) = patch_body(self.stage, &self.path(card), points).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(answer["changed"], false, "{answer}");
    }

    /// The device's owner adds a pass, or takes it away.
    pub(super) async fn hold(&mut self, phone: usize, card: usize) {
        let id = self.id(card);
        if self.phones[phone].wallet.pass(&id).is_none() {
            self.add(phone, card).await;
        } else {
            self.wake(phone).await;
            self.note(format!("device {phone} removes pass {card}"));
            self.phones[phone].wallet.remove(&id).await;
            self.judge(phone, Occasion::Own);
        }
    }

    async fn add(&mut self, phone: usize, card: usize) {
        self.note(format!("device {phone} adds pass {card}"));
        let (status, package) = self.stage.api(Method::GET, &format!("{}/package", self.path(card)), None).await;
        assert_eq!(status, StatusCode::OK, "{}", String::from_utf8_lossy(&package));
        let id = self.phones[phone].wallet.add(&package).await.unwrap();
        assert!(self.phones[phone].wallet.pass(&id).unwrap().registered);
        self.judge(phone, Occasion::Own);
    }

    /// The device's owner adds a pass that asks who they are, and signs up.
    pub(super) async fn join(&mut self, phone: usize) {
        self.wake(phone).await;
        self.members += 1;
        let serial = format!("{}-{}", self.cards[0].serial, self.members);
        self.note(format!("the owner of device {phone} signs up with {serial}"));
        let body = json!({"template": "rewards", "serial": serial, "fields": {"points": 0, "name": "you"}});
        let (status, answer) = self.stage.api(Method::POST, "/api/passes", Some(&body)).await;
        assert_eq!(status, StatusCode::CREATED, "{}", String::from_utf8_lossy(&answer));
        let path = format!("/api/passes/{PASS_TYPE}/{serial}/package");
        let (_, package) = self.stage.api(Method::GET, &path, None).await;
        let id = self.phones[phone].wallet.add(&package).await.unwrap();
        let _change = self.history.change_begins(&serial);
        let person = Personal { full_name: Some("Ada Lovelace".to_owned()), ..Personal::default() };
        let begin = self.history.tick();
        let joined = self.phones[phone].wallet.personalize(&id, &person).await;
        self.history.updated(phone, begin);
        self.judge(phone, Occasion::Own);
        assert!(joined && !self.phones[phone].wallet.pass(&id).unwrap().package.personalizable, "the pass is personal");
    }

    /// The device gets another push token; what is on its way to the old one is lost.
    pub(super) async fn rotate(&mut self, phone: usize) {
        self.settled(phone).await;
        self.note(format!("device {phone} gets another push token"));
        let before = self.phones[phone].wallet.push_token().to_owned();
        self.phones[phone].wallet.rotate_push_token().await;
        self.phones[phone].missed |= self.stage.network.on_their_way(&before) > 0 || self.wild;
        self.judge(phone, Occasion::Own);
    }

    /// In quiet histories: waits until the server has nothing more to say to this device for now.
    async fn settled(&mut self, phone: usize) {
        if !self.wild {
            self.stage.quiet(&[self.phones[phone].wallet.device()]).await;
            self.history.all_quiet();
        }
    }

    /// What is on its way to the device arrives, and it updates.
    pub(super) async fn arrive(&mut self, phone: usize) {
        self.settled(phone).await;
        let token = self.phones[phone].wallet.push_token().to_owned();
        if let Some(push) = self.stage.network.take(&token) {
            self.note(format!("a push arrives at device {phone}"));
            self.phones[phone].last = Some(push.clone());
            self.update(phone, Some(push), false).await;
        }
    }

    /// The latest push to the device comes a second time.
    pub(super) async fn arrive_again(&mut self, phone: usize) {
        if let Some(push) = self.phones[phone].last.clone().filter(|_| self.wild) {
            self.note(format!("a push arrives at device {phone} again"));
            self.update(phone, Some(push), true).await;
        }
    }

    /// What is on its way to the device never arrives.
    pub(super) async fn lose(&mut self, phone: usize) {
        self.settled(phone).await;
        let token = self.phones[phone].wallet.push_token().to_owned();
        while self.stage.network.take(&token).is_some() {
            self.note(format!("a push to device {phone} is lost"));
            self.phones[phone].missed = true;
        }
    }

    /// In quiet histories: a device in somebody's hand is awake, and what is on its way to it arrives first.
    async fn wake(&mut self, phone: usize) {
        self.settled(phone).await;
        if !self.wild {
            self.arrive(phone).await;
        }
    }

    /// The device's owner pulls to refresh.
    pub(super) async fn refresh(&mut self, phone: usize) {
        self.wake(phone).await;
        self.note(format!("device {phone} asks by itself"));
        self.update(phone, None, false).await;
    }

    /// The device updates; in wild histories while passes change and processes end.
    async fn update(&mut self, phone: usize, push: Option<OnItsWay>, doubled: bool) {
        let mut changing = Vec::new();
        let mut dying = None;
        if self.wild && !self.ending {
            for card in 0..PASSES {
                if self.random.random_bool(0.3) {
                    self.cards[card].points += 1;
                    let points = self.cards[card].points;
                    self.note(format!("meanwhile pass {card} changes to {points}"));
                    changing.push((self.history.change_begins(&self.cards[card].serial), self.path(card), points));
                }
            }
            if self.stage.living() == PROCESSES && self.random.random_bool(0.05) {
                self.note("meanwhile process 0 dies".to_owned());
                dying = self.stage.withdraw(0);
            }
        }
        let occasion = match &push {
            Some(push) => Occasion::Push { taken_at: push.taken_at, doubled },
            None => Occasion::Own,
        };
        let begin = self.history.tick();
        let died = dying.is_some();
        let (stage, wallet) = (&*self.stage, &mut self.phones[phone].wallet);
        let updating = async {
            match push {
                Some(push) => wallet.on_push(&arriving(&push)).await,
                None => wallet.refresh(PASS_TYPE).await,
            }
        };
        let writing = async {
            if let Some(process) = dying {
                process.crash();
            }
            let mut listed = Vec::new();
            for (change, path, points) in changing {
                if patch(stage, &path, points).await == StatusCode::OK {
                    listed.push(change);
                }
            }
            listed
        };
        let ((), listed) = tokio::join!(updating, writing);
        if died {
            self.history.crashed(begin);
        }
        self.history.updated(phone, begin);
        for change in listed {
            self.history.change_is_listed(change);
        }
        self.judge(phone, occasion);
    }

    fn judge(&mut self, phone: usize, occasion: Occasion) {
        let lines: Vec<Complaint> =
            self.phones[phone].wallet.complaints().skip(self.phones[phone].judged).cloned().collect();
        self.phones[phone].judged += lines.len();
        for line in lines {
            self.note(format!("device {phone} writes: {line}"));
            // What a dying process was asked is not asked again by itself.
            self.phones[phone].missed |= matches!(line, Complaint::Failed { .. });
            assert!(
                self.wild && self.history.excuses(phone, &line, occasion),
                "device {phone} has a reason to complain: {line}"
            );
        }
    }

    /// A process is ended, in good order or not, and another time started again; one of them always lives.
    pub(super) async fn restart(&mut self) {
        let index = self.below(PROCESSES);
        if !self.stage.lives(index) {
            self.note(format!("process {index} starts"));
            return self.stage.start(index).await;
        }
        let orderly = self.random.random_bool(0.5);
        if self.stage.living() == PROCESSES || self.random.random_bool(0.3) {
            self.note(format!("process {index} {}", if orderly { "stops" } else { "dies" }));
            let process = self.stage.withdraw(index).unwrap();
            if orderly {
                process.stop().await;
            } else {
                process.crash();
            }
        }
        if self.stage.living() == 0 {
            self.note(format!("process {index} starts"));
            self.stage.start(index).await;
        }
    }

    pub(super) fn step_clock(&mut self) {
        let index = self.below(PROCESSES);
        self.stage.step_clock(index, &mut self.random);
        self.note(format!("the clock of process {index} steps"));
    }

    pub(super) fn turn_gateway(&mut self) {
        let manner = [Manner::Right, Manner::Right, Manner::Refuses, Manner::LosesAnswers][self.below(4)];
        self.note(format!("the gateway: {manner:?}"));
        self.stage.network.behave(manner);
    }

    /// Everything is well again and everything arrives: whoever missed no push has everything; then everybody has.
    pub(super) async fn end(&mut self) {
        self.note("everything is well again".to_owned());
        self.ending = true;
        self.stage.calm().await;
        self.wild_ends().await;
        for phone in 0..DEVICES {
            while self.stage.network.on_their_way(self.phones[phone].wallet.push_token()) > 0 {
                self.arrive(phone).await;
            }
            if !self.phones[phone].missed {
                self.has_everything(phone, "without having missed a push");
            }
        }
        for phone in 0..DEVICES {
            self.refresh(phone).await;
            self.has_everything(phone, "after having asked");
        }
        assert_eq!(self.stage.network.unfit(), [""; 0]);
    }

    async fn wild_ends(&mut self) {
        let devices: Vec<&str> = self.phones.iter().map(|phone| phone.wallet.device()).collect();
        self.stage.quiet(&devices).await;
        self.history.all_quiet();
    }

    fn has_everything(&self, phone: usize, when: &str) {
        for (number, card) in self.cards.iter().enumerate() {
            let Some(pass) = self.phones[phone].wallet.pass(&self.id(number)) else { continue };
            let shown = &pass.package.pass["storeCard"]["primaryFields"][0]["value"];
            assert_eq!(*shown, json!(card.points), "device {phone} has an old version of pass {number}, {when}");
        }
    }

    /// How many new versions devices got.
    pub(super) fn updates(&self) -> u64 {
        self.phones.iter().flat_map(|phone| phone.wallet.passes()).map(|(_, pass)| pass.updates).sum()
    }
}

fn arriving(push: &OnItsWay) -> Push {
    Push {
        seq: 0,
        provider: Provider::Apns,
        token: push.token.clone(),
        id: String::new(),
        at_ms: 0,
        topic: push.topic.clone(),
        headers: std::collections::BTreeMap::new(),
        sender: String::new(),
        connection: 0,
        payload: json!({}),
    }
}

async fn patch(stage: &Stage, path: &str, points: i64) -> StatusCode {
    patch_body(stage, path, points).await.0
}

async fn patch_body(stage: &Stage, path: &str, points: i64) -> (StatusCode, Value) {
    let body = json!({"fields": {"points": points}});
    let (status, answer) = stage.api(Method::PATCH, path, Some(&body)).await;
    assert!(matches!(status.as_u16(), 200 | 202), "{status}: {}", String::from_utf8_lossy(&answer));
    (status, serde_json::from_slice(&answer).unwrap())
}
