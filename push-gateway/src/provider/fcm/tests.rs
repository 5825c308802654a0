//! The FCM client against the simulator.

use std::time::Duration;

use tidings_shared::auth::ServiceAccount;
use tidings_shared::push_api::Environment;
use tidings_simulators::fcm::{Details, FcmAction, RegistrationToken, ScriptedError};
use tidings_simulators::script::{RetryAfterForm, Rule};

use super::*;
use crate::provider::TokenGone;
use crate::testing::Simulation;

fn client(simulation: &Simulation, clock: &Clock) -> Fcm {
    let credentials = simulation.simulators.credentials();
    let account = ServiceAccount::parse(&std::fs::read(&credentials.fcm_account_file).unwrap()).unwrap();
    let project = account.project_id.clone().unwrap();
    let http = tidings_shared::http::client(Some(&simulation.ca())).unwrap();
    let access = Arc::new(AccessTokens::new(account, SCOPE, http.clone(), clock.clone()).unwrap());
    Fcm::new(&credentials.fcm_url, &project, http, access, WakeStyle::Silent, clock.clone())
}

fn message() -> Message {
    Message {
        id: "01990000-0000-7000-8000-000000000001".to_owned(),
        token: "registration-token".to_owned(),
        environment: Environment::Production,
        registered_at_ms: None,
        push: Arc::new(Push::Wake {}),
        collapse_id: Some("wake".to_owned()),
        expires_at_ms: Clock::system().now_ms() + 3_600_000,
    }
}

fn will(simulation: &Simulation, action: FcmAction) {
    simulation.simulators.fcm().script().add(Rule::once(action));
}

fn error(code: &str, details: Details) -> ScriptedError {
    ScriptedError {
        code: code.to_owned(),
        status: None,
        message: None,
        retry_after: None,
        retry_after_form: RetryAfterForm::default(),
        details,
        field: None,
    }
}

#[tokio::test]
async fn a_wake_push_arrives() {
    let simulation = Simulation::start().await;
    let answer = client(&simulation, &Clock::system()).send(&message()).await;
    assert_eq!((answer.outcome, answer.status), (Outcome::Accepted, Some(200)), "{answer:?}");
    let pushes = simulation.simulators.inbox().list(None, 0, 10);
    assert_eq!(answer.provider_id.as_deref(), Some(pushes[0].id.as_str()));
    assert_eq!(pushes[0].payload["data"]["tidings"], "wake");
    assert_eq!(pushes[0].payload["android"]["priority"], "HIGH");
}

#[tokio::test]
async fn each_row_of_the_error_table_has_its_outcome() {
    let simulation = Simulation::start().await;
    let client = client(&simulation, &Clock::system());
    let seconds = |seconds| Retry::after(Duration::from_secs(seconds));
    for (code, details, retry_after, expected) in [
        ("INVALID_ARGUMENT", Details::Fcm, None, Outcome::Dead),
        ("INVALID_ARGUMENT", Details::BadRequest, None, Outcome::DropToken(TokenGone::Now)),
        ("UNREGISTERED", Details::Fcm, None, Outcome::DropToken(TokenGone::Now)),
        ("SENDER_ID_MISMATCH", Details::Fcm, None, Outcome::Pause),
        ("THIRD_PARTY_AUTH_ERROR", Details::Fcm, None, seconds(600)),
        ("QUOTA_EXCEEDED", Details::Fcm, Some(7), seconds(7)),
        ("QUOTA_EXCEEDED", Details::Fcm, None, seconds(60)),
        ("QUOTA_EXCEEDED", Details::Quota, None, seconds(60)),
        ("INTERNAL", Details::Fcm, None, Retry::soon()),
        ("INTERNAL", Details::None, None, Retry::soon()),
        ("UNAVAILABLE", Details::Fcm, Some(9), seconds(9)),
        ("UNAVAILABLE", Details::None, None, Retry::soon()),
    ] {
        will(&simulation, FcmAction::Answer(ScriptedError { retry_after, ..error(code, details) }));
        let answer = client.send(&message()).await;
        assert_eq!(answer.outcome, expected, "{code} {details:?}: {answer:?}");
    }
    will(&simulation, FcmAction::Html502);
    assert_eq!(client.send(&message()).await.outcome, Retry::soon());
    assert_eq!(client.send(&message()).await.outcome, Outcome::Accepted);
}

#[tokio::test]
async fn a_field_that_is_not_the_token_does_not_cost_it() {
    let simulation = Simulation::start().await;
    let data =
        ScriptedError { field: Some("message.data".to_owned()), ..error("INVALID_ARGUMENT", Details::BadRequest) };
    will(&simulation, FcmAction::Answer(data));
    assert_eq!(client(&simulation, &Clock::system()).send(&message()).await.outcome, Outcome::Dead);
}

#[tokio::test]
async fn a_token_that_is_gone_is_dropped() {
    let simulation = Simulation::start().await;
    let gone = RegistrationToken { token: message().token, project: None, gone: true };
    simulation.simulators.fcm().register_token(gone);
    let answer = client(&simulation, &Clock::system()).send(&message()).await;
    assert_eq!((answer.outcome, answer.status), (Outcome::DropToken(TokenGone::Now), Some(404)));
}

#[tokio::test]
async fn a_refused_access_token_is_fetched_anew_once() {
    let simulation = Simulation::start().await;
    let client = client(&simulation, &Clock::system());
    assert_eq!(client.send(&message()).await.outcome, Outcome::Accepted);
    will(&simulation, FcmAction::RevokeTokens);
    assert_eq!(client.send(&message()).await.outcome, Outcome::Accepted);
    assert_eq!(simulation.simulators.fcm().stats().tokens_issued, 2);
    simulation.simulators.fcm().script().add(Rule::once(FcmAction::RevokeTokens).always());
    assert_eq!(client.send(&message()).await.outcome, Outcome::Pause);
}

#[tokio::test]
async fn many_pushes_share_one_access_token_and_it_is_renewed_early() {
    let clock = Clock::manual(Clock::system().now_ms());
    let simulation = Simulation::with_clock(&[], &clock).await;
    let client = Arc::new(client(&simulation, &clock));
    let burst = async || {
        let sends = (0..20).map(|_| {
            let client = Arc::clone(&client);
            tokio::spawn(async move { client.send(&message()).await.outcome })
        });
        for sent in sends.collect::<Vec<_>>() {
            assert_eq!(sent.await.unwrap(), Outcome::Accepted);
        }
    };
    burst().await;
    let issued = || simulation.simulators.fcm().stats().tokens_issued;
    assert_eq!(issued(), 1);
    // Four minutes before its end: the old one is still used while the new one is fetched.
    clock.advance(56 * 60_000);
    burst().await;
    let renewed = crate::testing::eventually(async || (issued() == 2).then_some(()));
    renewed.await.unwrap();
    burst().await;
    assert_eq!(issued(), 2);
}

#[tokio::test]
async fn a_stranger_is_paused_and_an_absent_server_is_waited_for() {
    let simulation = Simulation::start().await;
    let clock = Clock::system();
    let credentials = simulation.simulators.credentials();
    let http = tidings_shared::http::client(Some(&simulation.ca())).unwrap();
    let with = |account: &tidings_simulators::fcm::ServiceAccount| {
        let account = ServiceAccount::parse(&serde_json::to_vec(account).unwrap()).unwrap();
        let access = Arc::new(AccessTokens::new(account, SCOPE, http.clone(), clock.clone()).unwrap());
        Fcm::new(&credentials.fcm_url, "tidings-dev", http.clone(), access, WakeStyle::Silent, clock.clone())
    };
    let token_uri = credentials.fcm_account.token_uri.clone();
    let stranger = tidings_simulators::fcm::ServiceAccount::create("tidings-dev", &token_uri).unwrap();
    let answer = with(&stranger).send(&message()).await;
    assert_eq!(answer.outcome, Outcome::Pause, "{answer:?}");
    let mut lost = credentials.fcm_account.clone();
    lost.token_uri = "https://127.0.0.1:1/token".to_owned();
    let answer = with(&lost).send(&message()).await;
    assert_eq!((answer.outcome, answer.reason.as_deref()), (Retry::unreached(), Some("token_endpoint_unreachable")));
}

/// A token endpoint that takes connections and says nothing: all that wait for it end with the one that asks.
#[tokio::test]
async fn pushes_that_wait_for_an_access_token_wait_together() {
    let simulation = Simulation::start().await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let endpoint = silent.local_addr().unwrap();
    let hold = Arc::new(tokio::sync::Semaphore::new(0));
    let accepting = tokio::spawn({
        let (asked, hold) = (Arc::clone(&asked), Arc::clone(&hold));
        async move {
            while let Ok((connection, _)) = silent.accept().await {
                asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                // Until it is closed.
                let _ = hold.acquire().await;
                drop(connection);
            }
        }
    });
    let credentials = simulation.simulators.credentials();
    let mut account = credentials.fcm_account.clone();
    account.token_uri = format!("http://{endpoint}/token");
    let account = ServiceAccount::parse(&serde_json::to_vec(&account).unwrap()).unwrap();
    let http = tidings_shared::http::client(Some(&simulation.ca())).unwrap();
    let access = Arc::new(AccessTokens::new(account, SCOPE, http.clone(), Clock::system()).unwrap());
    let waiting = (0..20).map(|_| {
        let access = Arc::clone(&access);
        tokio::spawn(async move { no_access(access.token().await.unwrap_err()) })
    });
    let waiting = waiting.collect::<Vec<_>>();
    // On one thread: when the first one's connection has come, all of them have begun to wait.
    let first = async || (asked.load(std::sync::atomic::Ordering::Relaxed) == 1).then_some(());
    crate::testing::eventually(first).await.unwrap();
    hold.close();
    for ended in waiting {
        assert_eq!(ended.await.unwrap().outcome, Retry::unreached());
    }
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 1);
    accepting.abort();
}

#[tokio::test]
async fn an_answer_that_never_comes_may_have_been_taken() {
    let simulation = Simulation::start().await;
    let clock = Clock::system();
    let credentials = simulation.simulators.credentials();
    let account = ServiceAccount::parse(&std::fs::read(&credentials.fcm_account_file).unwrap()).unwrap();
    let ca = reqwest::Certificate::from_pem_bundle(&std::fs::read(simulation.ca()).unwrap()).unwrap();
    let http = reqwest::Client::builder().tls_certs_merge(ca).timeout(Duration::from_millis(700)).build().unwrap();
    let access = Arc::new(AccessTokens::new(account, SCOPE, http.clone(), clock.clone()).unwrap());
    let hasty = Fcm::new(&credentials.fcm_url, "tidings-dev", http, access, WakeStyle::Silent, clock);
    assert_eq!(hasty.send(&message()).await.outcome, Outcome::Accepted);
    will(&simulation, FcmAction::Stall);
    let answer = hasty.send(&message()).await;
    assert_eq!((answer.outcome, answer.reason.as_deref()), (Retry::unanswered(), Some("timeout")));
}

#[tokio::test]
async fn a_cut_connection_leaves_the_push_open_and_is_replaced() {
    let simulation = Simulation::start().await;
    let client = client(&simulation, &Clock::system());
    for delivered in [0, 1] {
        let rule = Rule::once(FcmAction::Cut);
        simulation.simulators.fcm().script().add(if delivered == 1 { rule.delivered() } else { rule });
        let answer = client.send(&message()).await;
        assert_eq!((answer.outcome, answer.reason.as_deref()), (Retry::unanswered(), Some("connection_cut")));
        assert_eq!(simulation.simulators.inbox().list(None, 0, 10).len(), delivered * 2);
        assert_eq!(client.send(&message()).await.outcome, Outcome::Accepted);
    }
}

#[tokio::test]
async fn a_pause_may_be_asked_for_by_a_date() {
    let clock = Clock::manual(Clock::system().now_ms());
    let simulation = Simulation::with_clock(&[], &clock).await;
    let client = client(&simulation, &clock);
    for (code, status) in [("QUOTA_EXCEEDED", 429), ("UNAVAILABLE", 503)] {
        let dated = ScriptedError {
            retry_after: Some(90),
            retry_after_form: RetryAfterForm::Date,
            ..error(code, Details::Fcm)
        };
        will(&simulation, FcmAction::Answer(dated));
        let answer = client.send(&message()).await;
        assert_eq!((answer.outcome, answer.status), (Retry::after(Duration::from_secs(90)), Some(status)));
    }
}

#[tokio::test]
async fn each_form_of_addressee_is_taken() {
    let simulation = Simulation::start().await;
    let client = client(&simulation, &Clock::system());
    for (to, kept) in [
        ("registration:token", "registration:token"),
        ("fid:cFq2_-", "cFq2_-"),
        ("topic:news", "topic:news"),
        ("condition:'a' in topics && 'b' in topics", "condition:'a' in topics && 'b' in topics"),
    ] {
        assert_eq!(check_recipient(to), Ok(()), "{to}");
        let answer = client.send(&Message { token: to.to_owned(), ..message() }).await;
        assert_eq!(answer.outcome, Outcome::Accepted, "{to}: {answer:?}");
        assert_eq!(simulation.simulators.inbox().list(Some(kept), 0, 10).len(), 1, "{to}");
    }
    // An installation that the error names is forgotten as a token is.
    let fid = ScriptedError { field: Some("message.fid".to_owned()), ..error("INVALID_ARGUMENT", Details::BadRequest) };
    will(&simulation, FcmAction::Answer(fid));
    let answer = client.send(&Message { token: "fid:cFq2_-".to_owned(), ..message() }).await;
    assert_eq!(answer.outcome, Outcome::DropToken(TokenGone::Now));
}

#[tokio::test]
async fn a_verdict_delivers_nothing_and_is_the_providers_own() {
    let simulation = Simulation::start().await;
    let client = client(&simulation, &Clock::system());
    assert_eq!(client.validate(&message()).await.outcome, Outcome::Accepted);
    assert_eq!(client.probe().await.outcome, Outcome::Accepted);
    let gone = RegistrationToken { token: message().token, project: None, gone: true };
    simulation.simulators.fcm().register_token(gone);
    assert_eq!(client.validate(&message()).await.reason.as_deref(), Some("UNREGISTERED"));
    assert!(simulation.simulators.inbox().list(None, 0, 10).is_empty());
}

#[tokio::test]
async fn topic_subscriptions_have_a_result_each_and_survive_a_refused_access_token() {
    use topics::{Change, TopicError};

    let simulation = Simulation::start().await;
    let client = client(&simulation, &Clock::system());
    let tokens: Vec<_> = (0..1500).map(|number| format!("token-{number}")).collect();
    let gone = RegistrationToken { token: "token-1200".to_owned(), project: None, gone: true };
    simulation.simulators.fcm().register_token(gone);
    will(&simulation, FcmAction::RevokeTokens);
    let results = client.change_topic(Change::Subscribe, "news", &tokens).await.unwrap();
    assert_eq!(results.len(), 1500);
    assert_eq!(results[1200].as_deref(), Some("NOT_FOUND"));
    assert_eq!(simulation.simulators.fcm().subscribers("tidings-dev", "news").len(), 1499);
    let left = client.change_topic(Change::Unsubscribe, "news", &tokens[..1499]).await.unwrap();
    assert_eq!(left.iter().flatten().count(), 1);
    assert_eq!(simulation.simulators.fcm().subscribers("tidings-dev", "news").len(), 1);
    will(&simulation, FcmAction::Html502);
    let unanswered = client.change_topic(Change::Subscribe, "news", &tokens[..1]).await.unwrap_err();
    assert!(matches!(unanswered, TopicError::Unanswered(_)), "{unanswered}");
    will(&simulation, FcmAction::Answer(error("SENDER_ID_MISMATCH", Details::Fcm)));
    let refused = client.change_topic(Change::Subscribe, "news", &tokens[..1]).await.unwrap_err();
    assert!(refused.to_string().contains("403 PERMISSION_DENIED"), "{refused}");
}

#[tokio::test]
async fn pushes_above_the_projects_quota_go_back_to_the_queue() {
    let simulation = Simulation::start().await;
    // One a minute.
    let slow = client(&simulation, &Clock::system()).with_pacer(Arc::new(Pacer::new(1, Duration::ZERO)));
    assert_eq!(slow.send(&message()).await.outcome, Outcome::Accepted);
    let answer = slow.send(&message()).await;
    assert_eq!(answer.reason.as_deref(), Some("project_quota"));
    let Outcome::Retry(retry) = answer.outcome else { panic!("{answer:?}") };
    assert!(retry.unreached && !retry.maybe_taken);
    let after = retry.after.unwrap();
    assert!((Duration::from_secs(50)..=Duration::from_secs(60)).contains(&after), "{after:?}");
    // A verdict is for a person who waits for it.
    assert_eq!(slow.validate(&message()).await.outcome, Outcome::Accepted);
}
