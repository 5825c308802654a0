//! Promises, over random interleavings: a device that follows the protocol has every committed change once all have
//! their tags, is never told of one twice, and never sees a list under a tag that stands still.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Map, json};
use tidings_passbook_service::package::PassState;
use tidings_passbook_service::store::{Batch, Client, NewPass, PassId, PassUpdate, Store};
use tidings_passbook_service::update::{Since, since, tag_text};
use tidings_shared::storage::{Database, testing};

const PASSES: usize = 4;
const DEVICES: usize = 2;

#[derive(Clone, Debug)]
enum Step {
    Change(usize),
    GiveTags(i64),
    Poll(usize),
    Register(usize, usize),
    Unregister(usize, usize),
    /// A backup was restored, or another provider's tag is brought.
    Forget(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..PASSES).prop_map(Step::Change),
        3 => (1..4_i64).prop_map(Step::GiveTags),
        4 => (0..DEVICES).prop_map(Step::Poll),
        1 => (0..DEVICES, 0..PASSES).prop_map(|(device, pass)| Step::Register(device, pass)),
        1 => (0..DEVICES, 0..PASSES).prop_map(|(device, pass)| Step::Unregister(device, pass)),
        1 => (0..DEVICES).prop_map(Step::Forget),
    ]
}

#[derive(Default)]
struct Device {
    tag: Option<String>,
    /// The revision that it has of each of its passes.
    has: BTreeMap<usize, i64>,
}

struct World {
    store: Store,
    prefix: String,
    revisions: Vec<i64>,
    /// The revision of each pass when its latest tag was given: what the list tells of.
    devices: Vec<Device>,
    now: i64,
}

impl World {
    fn id(&self, pass: usize) -> PassId {
        PassId { pass_type: format!("pass.{}", self.prefix), serial: pass.to_string() }
    }

    fn device(&self, device: usize) -> String {
        format!("{}-{device}", self.prefix)
    }

    async fn new(store: Store, prefix: String) -> Self {
        let world = Self {
            store,
            prefix,
            revisions: vec![1; PASSES],
            devices: (0..DEVICES).map(|_| Device::default()).collect(),
            now: 1_790_000_000_000,
        };
        for pass in 0..PASSES {
            let new = NewPass {
                id: world.id(pass),
                template: "t".to_owned(),
                fields: Map::new(),
                user_info: None,
                state: PassState::NONE,
                token_hash: "h".to_owned(),
                token_nonce: None,
                basis: "b".to_owned(),
                fingerprint: "0".to_owned(),
            };
            assert!(world.store.insert_pass(&new, world.now).await.unwrap());
        }
        world
    }

    async fn play(&mut self, step: &Step) {
        self.now += 100;
        match *step {
            Step::Change(pass) => {
                let update = PassUpdate {
                    fields: Map::new(),
                    user_info: Some(json!(self.now)),
                    state: PassState::NONE,
                    basis: "b".to_owned(),
                    fingerprint: self.now.to_string(),
                    keep: 0,
                };
                let stored = self
                    .store
                    .update_pass::<()>(&self.id(pass), self.now, |_| Ok(Some(update.clone())))
                    .await
                    .unwrap()
                    .unwrap()
                    .unwrap();
                assert!(stored.change.is_some());
                self.revisions[pass] = stored.pass.revision;
            }
            Step::GiveTags(limit) => {
                assert!(self.store.give_tags(limit, self.now, 0).await.unwrap() != Batch::Busy);
            }
            Step::Poll(device) => self.poll(device).await,
            Step::Register(device, pass) => {
                self.store
                    .register(&self.device(device), Client::Apple, &self.id(pass), "token", self.now)
                    .await
                    .unwrap();
                // The device has just installed the pass as it is now.
                let revision = self.revisions[pass];
                self.devices[device].has.entry(pass).or_insert(revision);
            }
            Step::Unregister(device, pass) => {
                self.store.unregister(&self.device(device), &self.id(pass)).await.unwrap();
                self.devices[device].has.remove(&pass);
            }
            Step::Forget(device) => self.devices[device].tag = Some("elsewhere.5".to_owned()),
        }
    }

    async fn poll(&mut self, device: usize) {
        let clocks = self.store.clock().await.unwrap();
        let brought = self.devices[device].tag.clone();
        let wanted = since(brought.as_deref(), &clocks);
        let pass_type = self.id(0).pass_type;
        let listed = self.store.list(&self.device(device), &pass_type, wanted.after()).await.unwrap();
        for change in &listed {
            let pass: usize = change.serial.parse().unwrap();
            assert!(self.devices[device].has.contains_key(&pass), "only passes that are registered on the device");
            if let Since::After(tag) = wanted {
                assert!(change.tag > tag, "strictly greater");
            }
            let revision = self.revisions[pass];
            self.devices[device].has.insert(pass, revision);
        }
        if let Some(greatest) = listed.iter().map(|change| change.tag).max() {
            let tag = tag_text(&clocks.epoch, greatest);
            assert!(wanted == Since::All || Some(&tag) != brought.as_ref(), "the tag moved");
            self.devices[device].tag = Some(tag);
        }
    }

    /// Gives all tags, lets every device ask once, and compares.
    async fn settle(&mut self) {
        while matches!(self.store.give_tags(500, self.now, 0).await.unwrap(), Batch::Given { .. }) {}
        for device in 0..DEVICES {
            self.poll(device).await;
            for (pass, revision) in &self.devices[device].has {
                assert_eq!(*revision, self.revisions[*pass], "device {device} missed a change of pass {pass}");
            }
            let clocks = self.store.clock().await.unwrap();
            let since = since(self.devices[device].tag.as_deref(), &clocks);
            if let Since::After(_) = since {
                let again = self.store.list(&self.device(device), &self.id(0).pass_type, since.after()).await.unwrap();
                assert!(again.is_empty(), "told twice: {again:?}");
            }
        }
    }
}

#[test]
fn a_device_that_follows_the_protocol_misses_nothing() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let databases: Vec<Database> = runtime.block_on(testing::databases());
    for database in databases {
        let store = Store::new(database);
        runtime.block_on(store.start_clock("e1")).unwrap();
        let run = std::cell::Cell::new(0_u32);
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
            cases: 40,
            failure_persistence: None,
            ..ProptestConfig::default()
        });
        let result = runner.run(&proptest::collection::vec(step(), 1..40), |steps| {
            run.set(run.get() + 1);
            let prefix = format!("run{}", run.get());
            runtime.block_on(async {
                let mut world = World::new(store.clone(), prefix).await;
                for step in &steps {
                    world.play(step).await;
                }
                world.settle().await;
            });
            Ok(())
        });
        if let Err(error) = result {
            panic!("{error}");
        }
    }
}
