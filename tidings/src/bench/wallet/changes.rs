//! Devices that ask all the time while passes change, and what they must have seen in the end: the latest change of every
//! pass, in exactly the list whose tags lie around it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use tokio::task::JoinSet;

use super::super::door::Door;
use super::load::{Request, Visitor};
use super::stage::{Card, KEY, PASS_TYPE, Stage, list_path, register};

/// Between two questions of a device.
const PAUSE: Duration = Duration::from_millis(20);

/// One list: after this tag, up to this tag, these serials.
type List = (i64, i64, BTreeSet<String>);

/// Devices under way.
pub(super) struct Watch {
    stop: Arc<AtomicBool>,
    devices: JoinSet<anyhow::Result<(Vec<Card>, Vec<List>)>>,
}

/// What they have seen.
pub(super) struct Seen {
    pub(super) lists: usize,
    pub(super) checked: usize,
    /// Passes whose latest change is in no list.
    pub(super) lost: usize,
    /// Lists whose tag was the one that was brought.
    pub(super) stood_still: usize,
}

/// The number of a tag `EPOCH.N`.
fn number(tag: &str) -> anyhow::Result<i64> {
    tag.rsplit_once('.').and_then(|(_, number)| number.parse().ok()).with_context(|| format!("the tag {tag}"))
}

impl Watch {
    /// Each device gets its share of the passes.
    ///
    /// # Errors
    /// When a registration is refused.
    pub(super) async fn begin(stage: &Stage, watchers: usize) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut devices = JoinSet::new();
        let mut door = Door::open(stage.services[0], KEY).await?;
        for watcher in 0..watchers {
            let device = format!("bench-watcher-{watcher}");
            let cards: Vec<Card> = stage.cards.iter().skip(watcher).step_by(watchers).cloned().collect();
            for card in &cards {
                register(&mut door, card, &device).await?;
            }
            let (address, stop) = (stage.services[watcher % stage.services.len()], Arc::clone(&stop));
            devices.spawn(async move {
                let lists = watch(Visitor::new(address), &device, &stop).await?;
                Ok((cards, lists))
            });
        }
        Ok(Self { stop, devices })
    }

    /// Waits until they see nothing new, and compares with what the service says of each pass.
    ///
    /// # Errors
    /// When the service does not answer.
    pub(super) async fn end(mut self, stage: &Stage) -> anyhow::Result<Seen> {
        self.stop.store(true, Ordering::SeqCst);
        let mut door = Door::open(stage.services[0], KEY).await?;
        let mut seen = Seen { lists: 0, checked: 0, lost: 0, stood_still: 0 };
        while let Some(device) = self.devices.join_next().await {
            let (cards, lists) = device??;
            seen.lists += lists.len();
            seen.stood_still += lists.iter().filter(|(after, upto, _)| after == upto).count();
            let by_end: BTreeMap<i64, &List> = lists.iter().map(|list| (list.1, list)).collect();
            let begin = lists.first().map_or(0, |first| first.0);
            for card in cards {
                let state = door.json("GET", &format!("/api/passes/{PASS_TYPE}/{}", card.serial), "").await?;
                let tag = number(state["tag"].as_str().context("a pass without a tag")?)?;
                if tag <= begin {
                    continue;
                }
                seen.checked += 1;
                let list = by_end.range(tag..).next().map(|(_, list)| *list);
                let listed = list.is_some_and(|(after, _, serials)| *after < tag && serials.contains(&card.serial));
                seen.lost += usize::from(!listed);
            }
        }
        Ok(seen)
    }
}

/// Follows the protocol until it is told to stop and nothing is new.
async fn watch(mut visitor: Visitor, device: &str, stop: &AtomicBool) -> anyhow::Result<Vec<List>> {
    let mut lists = Vec::new();
    let mut tag: Option<String> = None;
    loop {
        let last = stop.load(Ordering::SeqCst);
        let answer = visitor.ask(&Request::get(list_path(device, tag.as_deref()), String::new())).await?;
        match answer.status {
            200 => {
                let body: serde_json::Value = serde_json::from_slice(&answer.body)?;
                let new = body["lastUpdated"].as_str().context("a list without a tag")?.to_owned();
                let serials = body["serialNumbers"].as_array().into_iter().flatten();
                let serials = serials.filter_map(|serial| serial.as_str().map(str::to_owned)).collect();
                // The first one says where the device begins; what it lists was changed before.
                if let Some(before) = &tag {
                    lists.push((number(before)?, number(&new)?, serials));
                }
                tag = Some(new);
            }
            204 if last => return Ok(lists),
            204 => {}
            other => anyhow::bail!("a list: {other}: {}", String::from_utf8_lossy(&answer.body)),
        }
        tokio::time::sleep(PAUSE).await;
    }
}
