use tidings_shared::clock::Clock;
use tidings_shared::push_api::{Environment, Push};

use super::*;
use crate::provider::Outcome;
use crate::testing::{FakeProvider, START, answer};

const BREAKER: BreakerSettings = BreakerSettings {
    failures: 3,
    window: Duration::from_secs(2),
    pause: Duration::from_secs(1),
    longest: Duration::from_secs(3),
};

fn message() -> Message {
    Message {
        id: "0199".to_owned(),
        token: "aa".to_owned(),
        environment: Environment::Production,
        registered_at_ms: None,
        push: Arc::new(Push::Wake {}),
        collapse_id: None,
        expires_at_ms: 0,
    }
}

fn through(provider: &FakeProvider, clock: &Clock) -> (SendPath, Arc<Breaker>) {
    let breaker = Breaker::new(BREAKER, clock.clone());
    let settings = PathSettings { concurrency: 2, timeout: Duration::from_secs(10) };
    (path(Arc::new(provider.clone()), &breaker, settings), breaker)
}

fn busy() -> Answer {
    Answer { status: Some(503), ..answer(Retry::soon(), "ServiceUnavailable") }
}

#[tokio::test(start_paused = true)]
async fn what_the_provider_never_saw_is_tried_once_more_and_nothing_else_is() {
    for (outcome, attempts) in [
        (Retry::unreached(), 2),
        (Retry::unanswered(), 1),
        (Retry::soon(), 1),
        (Outcome::Dead, 1),
        (Outcome::Accepted, 1),
    ] {
        let provider = FakeProvider::default();
        for _ in 0..3 {
            provider.will_answer(outcome, "x");
        }
        let (path, _) = through(&provider, &Clock::manual(START));
        assert_eq!(send(&path, message()).await.unwrap().outcome, outcome);
        assert_eq!(provider.sent().len(), attempts, "{outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_says_nothing_is_given_up_and_may_have_taken_the_push() {
    let provider = FakeProvider { silent: true, ..FakeProvider::default() };
    let (path, _) = through(&provider, &Clock::manual(START));
    let answer = send(&path, message()).await.unwrap();
    assert_eq!((answer.outcome, answer.reason.as_deref()), (Retry::unanswered(), Some("timeout")));
}

/// Waits for an access token or a stream for a while, and then says that it never got one.
#[derive(Debug)]
struct Waiting(Duration, std::sync::atomic::AtomicUsize);

impl PushProvider for Waiting {
    fn send<'a>(&'a self, _: &'a Message) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            crate::provider::handover::waiting();
            tokio::time::sleep(self.0).await;
            answer(Retry::unreached(), "no_free_stream")
        })
    }

    fn check(&self, _: &Push, _: Option<&str>) -> Result<(), crate::provider::Refusal> {
        Ok(())
    }

    fn serves(&self, _: Environment) -> bool {
        true
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_never_handed_over_is_certainly_not_taken() {
    for (wait, attempts, reason) in
        [(500, 2, "no_free_stream"), (6_000, 1, "no_free_stream"), (11_000, 1, "not_handed_over")]
    {
        let provider = Arc::new(Waiting(Duration::from_millis(wait), 0.into()));
        let breaker = Breaker::new(BREAKER, Clock::manual(START));
        let settings = PathSettings { concurrency: 2, timeout: Duration::from_secs(10) };
        let path = path(Arc::clone(&provider) as _, &breaker, settings);
        let answer = send(&path, message()).await.unwrap();
        assert_eq!((answer.outcome, answer.reason.as_deref()), (Retry::unreached(), Some(reason)), "{wait}");
        assert_eq!(provider.1.load(std::sync::atomic::Ordering::Relaxed), attempts, "{wait}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_are_under_way_than_the_limit_allows() {
    let provider = FakeProvider { silent: true, ..FakeProvider::default() };
    let (path, _) = through(&provider, &Clock::manual(START));
    let waiting: Vec<_> = (0..5)
        .map(|_| {
            tokio::spawn({
                let path = path.clone();
                async move { send(&path, message()).await }
            })
        })
        .collect();
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    assert_eq!(provider.sent().len(), 2);
    for task in waiting {
        task.await.unwrap().unwrap();
    }
    assert_eq!(provider.sent().len(), 5, "those that waited had their turn");
}

#[tokio::test(start_paused = true)]
async fn an_outage_opens_the_circuit_and_one_answer_closes_it() {
    let (provider, clock) = (FakeProvider::default(), Clock::manual(START));
    let (path, breaker) = through(&provider, &clock);
    let fails = async || {
        provider.answers.lock().unwrap().push_back(busy());
        send(&path, message()).await
    };
    // Many at once mean little.
    for _ in 0..5 {
        fails().await.unwrap();
    }
    assert_eq!(breaker.state(), State::Closed);
    clock.advance(2_000);
    fails().await.unwrap();
    let until_ms = START + 3_000;
    assert_eq!(breaker.state(), State::Open { until_ms });
    assert_eq!(fails().await, Err(CircuitOpen { until_ms }));
    provider.answers.lock().unwrap().clear();
    // One asks, in vain; the next pauses are longer, up to the longest.
    for pause in [2_000, 3_000, 3_000] {
        let State::Open { until_ms } = breaker.state() else { panic!("{:?}", breaker.state()) };
        clock.advance(until_ms - clock.now_ms());
        breaker.asking(Duration::from_secs(30));
        fails().await.unwrap();
        assert_eq!(breaker.state(), State::Open { until_ms: clock.now_ms() + pause });
    }
    // One that is not sent after all lets the next one ask at once.
    let State::Open { until_ms } = breaker.state() else { panic!("{:?}", breaker.state()) };
    clock.advance(until_ms - clock.now_ms());
    breaker.asking(Duration::from_secs(30));
    assert!(breaker.unasked());
    assert_eq!(breaker.state(), State::HalfOpen { until_ms: clock.now_ms() });
    // A refusal is an answer too.
    breaker.asking(Duration::from_secs(30));
    provider.will_answer(Outcome::Dead, "BadTopic");
    send(&path, message()).await.unwrap();
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn answers_in_between_keep_the_circuit_closed() {
    let (provider, clock) = (FakeProvider::default(), Clock::manual(START));
    let (path, breaker) = through(&provider, &clock);
    for _ in 0..10 {
        provider.answers.lock().unwrap().extend([busy(), busy()]);
        for _ in 0..3 {
            send(&path, message()).await.unwrap();
        }
        clock.advance(2_000);
    }
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn one_push_service_that_is_away_does_not_open_the_circuit_for_all_others() {
    let clock = Clock::manual(START);
    let provider = FakeProvider::default();
    let (path, breaker) = through(&provider, &clock);
    for _ in 0..20 {
        let alone = Retry { unreached: true, isolated: true, after: Some(Duration::ZERO), ..Retry::default() };
        provider.will_answer(Outcome::Retry(alone), "connect_failed");
        clock.advance(1000);
        send(&path, message()).await.unwrap();
    }
    assert_eq!(breaker.state(), State::Closed);
}
