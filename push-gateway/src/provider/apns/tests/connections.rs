use super::*;

#[tokio::test]
async fn streams_are_held_to_the_live_limit() {
    let simulation = Simulation::with(&[("simulators.apns.max_streams", "20")]).await;
    let client = Arc::new(client(&simulation));
    let burst = async |pushes: usize| {
        let sends = (0..pushes).map(|_| {
            let client = Arc::clone(&client);
            tokio::spawn(async move { client.send(&message()).await.outcome })
        });
        for sent in sends.collect::<Vec<_>>() {
            assert_eq!(sent.await.unwrap(), Outcome::Accepted);
        }
    };
    burst(200).await;
    for limit in [1, 40] {
        apns(&simulation).command(&ConnectionCommand::StreamLimit(limit));
        // Its answer comes behind the new limit.
        burst(1).await;
        burst(100).await;
    }
    let stats = apns(&simulation).stats();
    assert_eq!((stats.accepted, stats.over_limit), (402, 0));
    assert!(stats.connections_opened <= 2, "{stats:?}");
    // A limit that falls under way may refuse streams; they are handed over again.
    for limit in [1, 40, 2] {
        apns(&simulation).command(&ConnectionCommand::StreamLimit(limit));
        burst(100).await;
    }
    assert_eq!(apns(&simulation).stats().accepted, 702);
}

#[tokio::test]
async fn a_push_that_goaway_left_out_is_sent_again_at_once() {
    let simulation = Simulation::start().await;
    let client = client(&simulation);
    assert_eq!(client.send(&message()).await.outcome, Outcome::Accepted);
    will(&simulation, ApnsAction::Goaway(Goaway { reason: "Shutdown".to_owned(), unprocessed: true }));
    assert_eq!(client.send(&message()).await.outcome, Outcome::Accepted);
    let stats = apns(&simulation).stats();
    assert_eq!((stats.accepted, stats.connections_opened), (2, 2));
}

#[tokio::test]
async fn after_a_goaway_the_next_push_takes_a_new_connection() {
    let simulation = Simulation::start().await;
    let client = client(&simulation);
    will(&simulation, ApnsAction::Goaway(Goaway { reason: "Shutdown".to_owned(), unprocessed: false }));
    for _ in 0..3 {
        assert_eq!(client.send(&message()).await.outcome, Outcome::Accepted);
    }
    assert_eq!(apns(&simulation).stats().connections_opened, 2);
}

#[tokio::test]
async fn a_cut_connection_leaves_the_push_open_and_is_replaced() {
    let simulation = Simulation::start().await;
    let client = client(&simulation);
    for action in [ApnsAction::Cut, ApnsAction::Reset] {
        will(&simulation, action);
        let answer = client.send(&message()).await;
        assert_eq!((answer.outcome, answer.reason.as_deref()), (Retry::unanswered(), Some("connection_cut")));
        assert_eq!(client.send(&message()).await.outcome, Outcome::Accepted);
    }
}

#[tokio::test]
async fn a_stalled_push_ends_after_its_time() {
    let simulation = Simulation::start().await;
    let client = client(&simulation);
    will(&simulation, ApnsAction::Stall);
    let answer = client.send(&message()).await;
    assert_eq!((answer.outcome, answer.reason.as_deref()), (Retry::unanswered(), Some("timeout")));
    // The connection still answers its PING, so it stays.
    assert_eq!(client.send(&message()).await.outcome, Outcome::Accepted);
    assert_eq!(apns(&simulation).stats().connections_opened, 1);
}

#[tokio::test]
async fn a_server_that_is_done_with_the_connection_gets_a_new_one() {
    let simulation = Simulation::start().await;
    let client = client(&simulation);
    for reason in ["IdleTimeout", "Shutdown"] {
        will(&simulation, ApnsAction::Answer(ScriptedAnswer::reason(reason)));
        assert_eq!(client.send(&message()).await.outcome, Retry::soon());
        assert_eq!(client.send(&message()).await.outcome, Outcome::Accepted);
    }
    assert_eq!(apns(&simulation).stats().connections_opened, 3);
}

#[tokio::test]
async fn nobody_waits_long_for_a_server_that_is_away() {
    let simulation = Simulation::start().await;
    let tls = tls::client_config(Some(&simulation.ca()), None, &[]).unwrap();
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let endpoint = Endpoint::parse(&format!("https://{closed}")).unwrap();
    let away = Arc::new(Apns::new(
        HeaderValue::from_static(TOPIC),
        Authentication::Certificate,
        Some(Transport::new(endpoint, tls, limits())),
        None,
        WakeStyle::Silent,
    ));
    let sends = (0..50).map(|_| {
        let away = Arc::clone(&away);
        tokio::spawn(async move { away.send(&message()).await })
    });
    let all = async {
        for sent in sends.collect::<Vec<_>>() {
            let answer = sent.await.unwrap();
            assert_eq!((answer.outcome, answer.reason.as_deref()), (Retry::unreached(), Some("connect_failed")));
        }
    };
    tokio::time::timeout(Duration::from_secs(5), all).await.unwrap();
}

#[tokio::test]
async fn a_server_with_a_strange_certificate_is_not_spoken_to() {
    let simulation = Simulation::start().await;
    let tls = tls::client_config(None, None, &[]).unwrap();
    let endpoint = Endpoint::parse(&simulation.simulators.credentials().apns_url).unwrap();
    let wary = Apns::new(
        HeaderValue::from_static(TOPIC),
        Authentication::Certificate,
        Some(Transport::new(endpoint, tls, limits())),
        None,
        WakeStyle::Silent,
    );
    assert_eq!(wary.send(&message()).await.outcome, Retry::unreached());
}

#[tokio::test]
async fn a_silent_connection_is_found_out_and_replaced() {
    let simulation = Simulation::start().await;
    let client = client(&simulation);
    assert_eq!(client.send(&message()).await.outcome, Outcome::Accepted);
    apns(&simulation).command(&ConnectionCommand::StallMs(60_000));
    assert_eq!(client.send(&message()).await.outcome, Retry::unanswered());
    let recovered =
        crate::testing::eventually(async || (client.send(&message()).await.outcome == Outcome::Accepted).then_some(()));
    recovered.await.unwrap();
    assert_eq!(apns(&simulation).stats().connections_opened, 2);
}
