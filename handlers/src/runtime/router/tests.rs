//! Handlers are services: layers of tower fit around them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tower::limit::ConcurrencyLimitLayer;
use tower::load_shed::LoadShedLayer;
use tower::retry::{Policy, RetryLayer};
use tower::timeout::TimeoutLayer;
use tower::util::{MapFutureLayer, MapRequestLayer};
use tower::{Service as _, ServiceBuilder, ServiceExt as _};
use tracing::Instrument as _;

use crate::runtime::{
    Attempt, Captures, FromRef, HandlerError, Json, Message, MessageId, Outgoing, Properties, Publisher, Reply,
    Request, Response, Retry, Router, Routes, Sender, State, Text, Topic, on, on_service,
};

async fn call(routes: &Routes, message: Message) -> Result<Vec<Outgoing>, HandlerError> {
    routes.clone().call(Request::new(message)).await?.finish().await.map_err(HandlerError::from)
}

fn message(topic: &str, payload: &str) -> Message {
    let user = tidings_shared::identity::UserId::new("7").unwrap();
    Message::new(topic, payload.to_owned()).from(&user, "phone").with_id(&MessageId::new("m1").unwrap())
}

#[tokio::test]
async fn a_function_takes_up_to_eight_extractors() {
    #[expect(clippy::too_many_arguments, reason = "as many as a handler can have")]
    async fn eight(
        Sender { user, client }: Sender,
        Json(number): Json<u32>,
        raw: Bytes,
        Text(text): Text,
        topic: Topic,
        id: MessageId,
        properties: Properties,
        Attempt(attempt): Attempt,
    ) -> Reply {
        let stamped = properties.get("client").unwrap_or_default().to_owned();
        Reply::json("all", &(user, client, number, raw.len(), text, topic.0, id, stamped, attempt))
    }
    let routes = Router::new().topic("t", eight).build().unwrap();
    let answers = call(&routes, message("t", "42")).await.unwrap();
    assert_eq!(answers[0].topic, "7_all");
    assert_eq!(&answers[0].payload[..], br#"["7","phone",42,2,"42","t","m1","phone",1]"#);
}

#[tokio::test]
async fn a_handler_asks_for_its_part_of_the_state() {
    #[derive(Clone)]
    struct App {
        name: &'static str,
        number: u8,
    }
    struct Name(&'static str);
    impl FromRef<App> for Name {
        fn from_ref(app: &App) -> Self {
            Self(app.name)
        }
    }
    async fn both(State(name): State<Name>, State(app): State<App>) -> Reply {
        Reply::json("state", &(name.0, app.number))
    }
    let first: Router = Router::new().topic("a", both).with_state(App { name: "first", number: 1 });
    let second: Router = Router::new().topic("b", both).with_state(App { name: "second", number: 2 });
    let routes = first.merge(second).build().unwrap();
    assert_eq!(&call(&routes, message("b", "")).await.unwrap()[0].payload[..], br#"["second",2]"#);
}

#[tokio::test]
async fn a_response_topic_is_used_only_when_it_is_the_senders_own() {
    async fn reply() -> Reply {
        Reply::bytes("reply", "x")
    }
    let routes = Router::new().topic("t", reply).build().unwrap();
    for (wanted, used) in [("7_mine", "7_mine"), ("7/mine", "7/mine"), ("8_yours", "7_reply"), ("t", "7_reply")] {
        let mut request = message("t", "");
        request.properties.response_topic = Some(wanted.to_owned());
        assert_eq!(call(&routes, request).await.unwrap()[0].topic, used);
    }
}

#[tokio::test]
async fn a_message_without_a_sender_or_with_a_wrong_payload_is_permanently_refused() {
    async fn of_sender(_: Sender, Json(_): Json<u32>) {}
    async fn of_anybody(sender: Option<Sender>) -> Option<Reply> {
        sender.map(|_| Reply::json("hi", &()))
    }
    let routes = Router::new().topic("a", of_sender).topic("b", of_anybody).build().unwrap();
    for wrong in [Message::new("a", "1"), message("a", "x")] {
        assert_eq!(call(&routes, wrong).await.unwrap_err().when_to_retry(), Retry::Never);
    }
    assert!(call(&routes, Message::new("b", "")).await.unwrap().is_empty());
    assert!(
        call(&routes, Message::new("c", "")).await.unwrap_err().to_string().contains("no handler takes the topic c")
    );
}

#[test]
fn wrong_and_double_patterns_are_all_told() {
    async fn nothing() {}
    let router: Router = Router::new().topic("a/#/b", nothing).topic("a/{x}", nothing).topic("a/+", nothing);
    let error = router.build().unwrap_err().to_string();
    assert!(error.contains("a/#/b") && error.contains("a/+ and a/{x} take the same topics"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_time_limit_around_one_route() {
    async fn slow() {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    let routes = Router::new()
        .topic("a", on(slow).layer(TimeoutLayer::new(Duration::from_secs(1))))
        .topic("b", slow)
        .build()
        .unwrap();
    let error = call(&routes, message("a", "")).await.unwrap_err();
    assert_eq!(
        (error.when_to_retry(), error.to_string().as_str()),
        (Retry::Limited, "the handler took longer than its time limit")
    );
    assert!(call(&routes, message("b", "")).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_concurrency_limit_around_all_routes() {
    #[derive(Clone, Default)]
    struct Busy(Arc<(AtomicUsize, AtomicUsize)>);
    async fn busy(State(Busy(busy)): State<Busy>) {
        let now = busy.0.fetch_add(1, Ordering::SeqCst) + 1;
        busy.1.fetch_max(now, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(10)).await;
        busy.0.fetch_sub(1, Ordering::SeqCst);
    }
    let state = Busy::default();
    let routes =
        Router::new().topic("a", busy).layer(ConcurrencyLimitLayer::new(3)).with_state(state.clone()).build().unwrap();
    let results = join_all((0..20).map(|_| call(&routes, message("a", "")))).await;
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(state.0.1.load(Ordering::SeqCst), 3, "the limit is shared by all calls of the route");
}

#[tokio::test]
async fn a_full_route_that_sheds_load_is_tried_again_later() {
    async fn forever() {
        std::future::pending::<()>().await;
    }
    let layers = ServiceBuilder::new().layer(LoadShedLayer::new()).layer(ConcurrencyLimitLayer::new(1)).into_inner();
    let routes = Router::new().topic("a", on(forever).layer(layers)).build().unwrap();
    let first = tokio::spawn({
        let routes = routes.clone();
        async move { call(&routes, message("a", "")).await }
    });
    tokio::task::yield_now().await;
    let error = call(&routes, message("a", "")).await.unwrap_err();
    assert_eq!(error.when_to_retry(), Retry::Limited);
    first.abort();
}

#[derive(Clone)]
struct Times(u32);

impl<E> Policy<Request, Response, E> for Times {
    type Future = std::future::Ready<()>;

    fn retry(&mut self, _: &mut Request, result: &mut Result<Response, E>) -> Option<Self::Future> {
        (result.is_err() && self.0 > 0).then(|| {
            self.0 -= 1;
            std::future::ready(())
        })
    }

    fn clone_request(&mut self, request: &Request) -> Option<Request> {
        Some(request.clone())
    }
}

#[tokio::test]
async fn a_retry_of_tower_publishes_what_the_last_attempt_published() {
    #[derive(Clone, Default)]
    struct Calls(Arc<AtomicU32>);
    async fn flaky(State(Calls(calls)): State<Calls>, publisher: Publisher) -> Result<(), HandlerError> {
        let call = calls.fetch_add(1, Ordering::SeqCst) + 1;
        publisher.publish("7_call", call.to_string())?;
        if call < 3 { Err(HandlerError::retry("not yet")) } else { Ok(()) }
    }
    let routes = Router::new()
        .topic("a", on(flaky).layer(RetryLayer::new(Times(5))))
        .with_state(Calls::default())
        .build()
        .unwrap();
    let answers = call(&routes, message("a", "")).await.unwrap();
    assert_eq!(answers.iter().map(|answer| &answer.payload[..]).collect::<Vec<_>>(), [b"3"]);
}

#[tokio::test]
async fn spans_and_changed_requests_are_layers_too() {
    async fn attempt(Attempt(attempt): Attempt, captures: Captures) -> Reply {
        Reply::json("saw", &(attempt, captures.get("what")))
    }
    let trace = MapFutureLayer::new(|future: futures_util::future::BoxFuture<'static, _>| {
        let traced: futures_util::future::BoxFuture<'static, _> =
            Box::pin(future.instrument(tracing::info_span!("handler")));
        traced
    });
    let numbered = MapRequestLayer::new(|request: Request| request.with_attempt(9));
    let routes = Router::new().topic("a/{what}", on(attempt).layer(trace).layer(numbered)).build().unwrap();
    assert_eq!(&call(&routes, message("a/b", "")).await.unwrap()[0].payload[..], br#"[9,"b"]"#);
}

#[tokio::test]
async fn any_service_can_be_a_route() {
    let service = tower::service_fn(async |request: Request| {
        Ok::<_, tower::BoxError>(Response::new(vec![Outgoing::new("7_out", request.message().payload.clone())?]))
    });
    let routes: Routes = Router::<()>::new().topic("a", on_service(service)).build().unwrap();
    assert_eq!(&call(&routes, message("a", "x")).await.unwrap()[0].payload[..], b"x");
    let response = routes.oneshot(Request::new(message("a", "y"))).await.unwrap();
    assert_eq!(response.publishes().len(), 1);
}
