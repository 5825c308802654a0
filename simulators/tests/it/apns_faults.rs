//! The APNs simulator's connections behave, and misbehave on request, as those of the real service.

use tidings_simulators::apns::{ApnsAction, ConnectionCommand, Goaway, ScriptedAnswer};
use tidings_simulators::script::Rule;

use crate::common::{Running, TOKEN, TOPIC, bounded, connect, read, start};

fn headers(running: &Running) -> Vec<(&'static str, String)> {
    vec![("authorization", format!("bearer {}", running.provider_token())), ("apns-topic", TOPIC.to_owned())]
}

fn borrowed<'a>(headers: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    headers.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

fn answer(reason: &str) -> ApnsAction {
    ApnsAction::Answer(ScriptedAnswer::reason(reason))
}

#[tokio::test]
async fn one_stream_until_the_first_success_and_after_a_refused_sender() {
    let running = start(&[("simulators.apns.max_streams", "50")]).await;
    let headers = headers(&running);
    let mut apns = connect(&running).await;
    apns.until_limit(1).await;
    assert_eq!(apns.push(TOKEN, &borrowed(&headers), b"{}").await.status, 200);
    apns.until_limit(50).await;
    assert_eq!(apns.push(TOKEN, &[("apns-topic", TOPIC)], b"{}").await.status, 403);
    apns.until_limit(1).await;
    assert_eq!(apns.push(TOKEN, &borrowed(&headers), b"{}").await.status, 200);
    apns.until_limit(50).await;
    assert_eq!(running.simulators.apns().stats().over_limit, 0);
}

#[tokio::test]
async fn the_stream_limit_changes_on_request() {
    let running = start(&[]).await;
    let headers = headers(&running);
    let mut apns = connect(&running).await;
    apns.push(TOKEN, &borrowed(&headers), b"{}").await;
    apns.until_limit(1000).await;
    assert_eq!(running.simulators.apns().command(&ConnectionCommand::StreamLimit(3)), 1);
    apns.until_limit(3).await;
    running.simulators.apns().script().add(Rule::once(ApnsAction::StreamLimit(1)));
    assert_eq!(apns.push(TOKEN, &borrowed(&headers), b"{}").await.status, 200);
    apns.until_limit(1).await;
    assert_eq!(
        apns.push(TOKEN, &borrowed(&headers), b"{}").await.status,
        200,
        "a success does not lift a limit that was set"
    );
    assert_eq!(apns.send.current_max_send_streams(), 1);
}

#[tokio::test]
async fn scripted_answers_hit_the_token_they_name_and_as_often_as_they_say() {
    let running = start(&[]).await;
    let headers = headers(&running);
    let mut apns = connect(&running).await;
    let gone = ScriptedAnswer { timestamp: Some(5), ..ScriptedAnswer::reason("ExpiredToken") };
    running.simulators.apns().script().add(Rule::once(ApnsAction::Answer(gone)).token(TOKEN).times(2));
    let busy = ScriptedAnswer { retry_after: Some(7), ..ScriptedAnswer::reason("ServiceUnavailable") };
    running.simulators.apns().script().add(Rule::once(ApnsAction::Answer(busy)).token(TOKEN));
    let odd = ScriptedAnswer { status: Some(418), ..ScriptedAnswer::reason("SomethingNew") };
    running.simulators.apns().script().add(Rule::once(ApnsAction::Answer(odd)).token(TOKEN));
    let other = "cd".repeat(32);
    assert_eq!(apns.push(&other, &borrowed(&headers), b"{}").await.status, 200);
    for _ in 0..2 {
        let answer = apns.push(TOKEN, &borrowed(&headers), b"{}").await;
        assert_eq!((answer.status.as_u16(), answer.body.as_str()), (410, r#"{"reason":"ExpiredToken","timestamp":5}"#));
    }
    let answer = apns.push(TOKEN, &borrowed(&headers), b"{}").await;
    assert_eq!((answer.status.as_u16(), answer.retry_after.as_deref()), (503, Some("7")));
    let answer = apns.push(TOKEN, &borrowed(&headers), b"{}").await;
    assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (418, "SomethingNew"));
    assert_eq!(apns.push(TOKEN, &borrowed(&headers), b"{}").await.status, 200);
    assert_eq!(running.simulators.inbox().list(Some(TOKEN), 0, 10).len(), 1, "refused pushes reach nobody");
}

#[tokio::test]
async fn answers_can_come_out_of_order() {
    let running = start(&[]).await;
    let headers = headers(&running);
    let mut apns = connect(&running).await;
    apns.push(TOKEN, &borrowed(&headers), b"{}").await;
    apns.until_limit(1000).await;
    running.simulators.apns().script().add(Rule::once(ApnsAction::Accept).token(TOKEN).delay_ms(60_000));
    let slow = apns.begin(TOKEN, &borrowed(&headers), b"{}").await;
    let other = "cd".repeat(32);
    assert_eq!(apns.push(&other, &borrowed(&headers), b"{}").await.status, 200);
    drop(slow);
}

#[tokio::test]
async fn goaway_carries_its_reason_and_answers_what_came_before() {
    let running = start(&[]).await;
    let headers = headers(&running);
    let mut apns = connect(&running).await;
    apns.push(TOKEN, &borrowed(&headers), b"{}").await;
    let goaway = Goaway { reason: "Shutdown".to_owned(), unprocessed: false };
    running.simulators.apns().script().add(Rule::once(ApnsAction::Goaway(goaway)));
    let answer = apns.push(TOKEN, &borrowed(&headers), b"{}").await;
    assert_eq!(answer.status, 200);
    // NO_ERROR: the client's connection ends well once it has its answers.
    bounded(apns.ended).await.unwrap().unwrap();
    assert_eq!(running.simulators.inbox().list(None, 0, 10).len(), 2);
}

#[tokio::test]
async fn goaway_can_leave_the_last_push_out() {
    let running = start(&[]).await;
    let headers = headers(&running);
    let mut apns = connect(&running).await;
    apns.push(TOKEN, &borrowed(&headers), b"{}").await;
    let goaway = Goaway { reason: "InternalServerError".to_owned(), unprocessed: true };
    running.simulators.apns().script().add(Rule::once(ApnsAction::Goaway(goaway)));
    let response = apns.begin(TOKEN, &borrowed(&headers), b"{}").await;
    let error = read(response).await.unwrap_err();
    assert!(error.is_go_away() && error.is_remote(), "{error:?}");
    assert!(format!("{error:?}").contains(r#"{\"reason\":\"InternalServerError\"}"#), "{error:?}");
    assert_eq!(running.simulators.inbox().list(None, 0, 10).len(), 1);
}

#[tokio::test]
async fn connections_can_be_cut_streams_reset_and_answers_withheld() {
    let running = start(&[]).await;
    let headers = headers(&running);
    let mut apns = connect(&running).await;
    apns.push(TOKEN, &borrowed(&headers), b"{}").await;

    running.simulators.apns().script().add(Rule::once(ApnsAction::Reset));
    let response = apns.begin(TOKEN, &borrowed(&headers), b"{}").await;
    assert!(read(response).await.unwrap_err().is_reset());

    running.simulators.apns().script().add(Rule::once(ApnsAction::Stall));
    let stalled = apns.begin(TOKEN, &borrowed(&headers), b"{}").await;
    assert_eq!(apns.push(TOKEN, &borrowed(&headers), b"{}").await.status, 200, "others are answered meanwhile");
    drop(stalled);

    running.simulators.apns().script().add(Rule::once(ApnsAction::Cut).delivered());
    let response = apns.begin(TOKEN, &borrowed(&headers), b"{}").await;
    let error = read(response).await.unwrap_err();
    assert!(error.is_io(), "{error:?}");
    assert_eq!(running.simulators.inbox().list(None, 0, 10).len(), 3, "the cut one was delivered all the same");
    assert_eq!(running.simulators.apns().script().active(), []);
}

/// A client that keeps no rule: after it has acknowledged a limit of one stream it opens two.
#[tokio::test]
async fn a_client_that_ignores_the_stream_limit_is_refused() {
    use std::sync::Arc;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let running = start(&[]).await;
    let config = tidings_shared::tls::client_config(Some(&running.ca_file()), None, &[b"h2"]).unwrap();
    let address = running.credentials().apns_url.strip_prefix("https://").unwrap();
    let socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let mut stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, socket).await.unwrap();

    let frame = |kind: u8, flags: u8, number: u8, payload: &[u8]| {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, number], payload].concat()
    };
    let path = format!("/3/device/{TOKEN}");
    // :method POST, :scheme https, :path (RFC 7541, appendix A), and no end of the stream.
    let headers = [&[0x83, 0x87, 0x04, u8::try_from(path.len()).unwrap()], path.as_bytes()].concat();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    let mut acknowledged = false;
    bounded(async {
        loop {
            let mut header = [0; 9];
            stream.read_exact(&mut header).await.unwrap();
            let length = usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
            let mut payload = vec![0; length];
            stream.read_exact(&mut payload).await.unwrap();
            if header[3] == 4 && header[4] & 1 == 0 && !acknowledged {
                acknowledged = true;
                assert!(payload.ends_with(&[0, 3, 0, 0, 0, 1]), "the first SETTINGS allow one stream: {payload:?}");
                let both = [frame(4, 1, 0, &[]), frame(1, 4, 1, &headers), frame(1, 4, 3, &headers)].concat();
                stream.write_all(&both).await.unwrap();
            }
            // RST_STREAM of the second one: REFUSED_STREAM.
            if header[3] == 3 {
                assert_eq!((header[8], payload.as_slice()), (3, [0, 0, 0, 7].as_slice()));
                break;
            }
        }
    })
    .await;
    assert_eq!(running.simulators.apns().stats().over_limit, 1);
}

#[tokio::test]
async fn a_connection_can_stall_as_a_whole() {
    let running = start(&[]).await;
    let headers = headers(&running);
    let mut apns = connect(&running).await;
    apns.push(TOKEN, &borrowed(&headers), b"{}").await;
    running.simulators.apns().command(&ConnectionCommand::StallMs(300));
    let asked = tokio::time::Instant::now();
    assert_eq!(apns.push(TOKEN, &borrowed(&headers), b"{}").await.status, 200);
    assert!(asked.elapsed() >= std::time::Duration::from_millis(200), "{:?}", asked.elapsed());
    running.simulators.apns().command(&ConnectionCommand::Goaway("IdleTimeout".to_owned()));
    bounded(apns.ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn http_1_is_refused() {
    let running = start(&[]).await;
    let http_1 = reqwest::Client::builder()
        .http1_only()
        .tls_certs_merge([reqwest::Certificate::from_pem(&std::fs::read(running.ca_file()).unwrap()).unwrap()])
        .build()
        .unwrap();
    let error = http_1.post(format!("{}/3/device/{TOKEN}", running.credentials().apns_url)).send().await.unwrap_err();
    assert!(error.is_connect(), "{error:?}");
}

#[tokio::test]
async fn every_documented_reason_can_be_scripted_with_its_status() {
    let running = start(&[]).await;
    let headers = headers(&running);
    let mut apns = connect(&running).await;
    for (status, reasons) in tidings_simulators::apns::REASONS {
        for reason in *reasons {
            running.simulators.apns().script().add(Rule::once(answer(reason)));
            let found = apns.push(TOKEN, &borrowed(&headers), b"{}").await;
            assert_eq!((found.status, found.reason().as_str()), (*status, *reason));
        }
    }
}
