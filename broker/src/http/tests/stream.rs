//! Streams of events and acknowledgements: whole recovery or a word, an end with its reason, a bounded slow reader.

use futures_util::StreamExt;
use tokio::io::AsyncReadExt;

use super::*;

/// One event as a client sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Event {
    id: Option<String>,
    name: String,
    data: String,
    retry: Option<u64>,
}

impl Event {
    fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap()
    }
}

/// Reads events as the standard says (WHATWG HTML, 9.2.6), heartbeats left out but counted.
struct Events {
    body: std::pin::Pin<Box<dyn futures_util::Stream<Item = reqwest::Result<Bytes>> + Send>>,
    text: String,
    heartbeats: usize,
}

impl Events {
    fn of(answer: Response) -> Self {
        assert_eq!(answer.status(), 200);
        Self { body: Box::pin(answer.bytes_stream()), text: String::new(), heartbeats: 0 }
    }

    /// The next event; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                if block.starts_with(':') {
                    self.heartbeats += 1;
                    continue;
                }
                return Some(parse(&block));
            }
            let part = timeout(PATIENCE, self.body.next()).await.expect("something is heard in time")?;
            self.text.push_str(std::str::from_utf8(&part.ok()?).unwrap());
        }
    }

    /// The next event that is more than a word about the connection.
    async fn event(&mut self) -> Event {
        loop {
            let event = self.next().await.expect("the stream goes on");
            if !event.name.is_empty() {
                return event;
            }
        }
    }

    async fn messages(&mut self, count: usize) -> Vec<Event> {
        let mut events = Vec::new();
        while events.len() < count {
            let event = self.event().await;
            if event.name != "cursor" {
                assert_eq!(event.name, "message", "{event:?}");
                events.push(event);
            }
        }
        events
    }
}

fn parse(block: &str) -> Event {
    let mut event = Event::default();
    for line in block.lines() {
        let (name, value) = line.split_once(": ").unwrap();
        match name {
            "id" => event.id = Some(value.to_owned()),
            "event" => event.name = value.to_owned(),
            "data" => event.data = value.to_owned(),
            "retry" => event.retry = Some(value.parse().unwrap()),
            other => panic!("no field of an event: {other}"),
        }
    }
    event
}

fn texts(events: &[Event]) -> Vec<String> {
    events.iter().map(|event| event.json()["payload"].as_str().unwrap().to_owned()).collect()
}

impl House {
    async fn stream(&self, user: &str, last: Option<&str>) -> Events {
        let mut request = self.get(user, "/v1/messages/stream?client=phone").header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        Events::of(request.send().await.unwrap())
    }
}

#[tokio::test]
async fn a_stream_gives_what_was_missed_and_then_what_comes() {
    let house = House::open().await;
    house.publish("68946_note", "one").await;
    house.publish("23412_note", "of somebody else").await;
    house.post(&house.token("68946"), "/v1/publish/request_contact", "a command").send().await.unwrap();
    let answer = house.get("68946", "/v1/messages/stream").send().await.unwrap();
    let headers = answer.headers().clone();
    assert_eq!(headers["content-type"], "text/event-stream");
    assert_eq!(headers["cache-control"], "no-store, no-transform");
    assert_eq!(headers["x-accel-buffering"], "no");
    assert!(!headers.contains_key("content-encoding"));
    let mut events = Events::of(answer);
    let ready = events.event().await;
    assert!((1_000..=5_000).contains(&ready.retry.unwrap()));
    assert_eq!((ready.name.as_str(), &ready.json()["recovered"]), ("ready", &json!(true)));
    assert_eq!(ready.id.as_deref(), ready.json()["cursor"].as_str());
    let one = events.messages(1).await.remove(0);
    assert_eq!(one.json()["payload"], "one");
    assert_eq!(one.id.as_deref(), one.json()["cursor"].as_str());
    let polled = json(house.get("68946", "/v1/messages").send().await.unwrap()).await;
    assert_eq!(polled["messages"][0], one.json(), "a message is the same on both doors");
    let two = house.publish("68946_note", "two\nlines").await;
    let live = events.messages(1).await.remove(0);
    assert_eq!((live.id.as_deref(), &live.json()["payload"]), (Some(two.as_str()), &json!("two\nlines")));
    drop(events);
    house.waiting(0).await;
    house.publish("68946_note", "three").await;
    let mut again = house.stream("68946", Some(&two)).await;
    assert_eq!(again.event().await.json(), json!({ "recovered": true, "cursor": two }));
    assert_eq!(texts(&again.messages(1).await), ["three"]);
}

#[tokio::test]
async fn recovery_of_a_stream_is_whole_or_says_that_it_is_not() {
    let kept = log::Limits { per_user: 2, ..log::Limits::default() };
    let house = House::with(Limits::default(), kept).await;
    let first = house.publish("68946_note", "one").await;
    let second = house.publish("68946_note", "two").await;
    house.publish("68946_note", "three").await;
    house.publish("68946_note", "four").await;
    let elsewhere = Cursor { epoch: EPOCH + 1, offset: 2 }.to_string();
    let ahead = Cursor { epoch: EPOCH, offset: house.log.head().0 + 1 }.to_string();
    for (cursor, recovered) in [(&second, true), (&first, false), (&ahead, false), (&elsewhere, false)] {
        let mut events = house.stream("68946", Some(cursor)).await;
        assert_eq!(events.event().await.json()["recovered"], recovered, "{cursor}");
        assert_eq!(texts(&events.messages(2).await), ["three", "four"], "{cursor}");
        let asked = house.get("68946", &format!("/v1/messages/stream?cursor={cursor}"));
        let mut events = Events::of(asked.send().await.unwrap());
        assert_eq!(events.event().await.json()["recovered"], recovered, "{cursor}");
    }
    refused(house.get("68946", "/v1/messages/stream?cursor=7"), 400, "cursor_invalid").await;
}

/// The client does not read; retention overtakes it; what it then reads says so before it goes on.
#[tokio::test]
async fn a_slow_reader_is_told_what_it_missed_and_costs_others_nothing() {
    let kept = log::Limits { per_user: 100, ..log::Limits::default() };
    let house = House::with(Limits::default(), kept).await;
    let mut socket = TcpStream::connect(house.address).await.unwrap();
    let token = house.token("68946");
    let request = format!("GET /v1/messages/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    house.waiting(1).await;
    // More than sockets and buffers hold between the two.
    let large = "x".repeat(200_000);
    for n in 0..150 {
        house.publish("68946_note", &format!("{n} {large}")).await;
    }
    let mut numbers = Vec::new();
    let mut gap = None;
    let mut buffered = Vec::new();
    let mut block = vec![0; 1 << 20];
    while numbers.last() != Some(&149) {
        let read = timeout(PATIENCE, socket.read(&mut block)).await.expect("something comes").unwrap();
        assert!(read > 0, "the stream goes on");
        buffered.extend_from_slice(&block[..read]);
        while let Some(end) = buffered.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffered.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            if line.starts_with("event: gap") {
                gap = gap.or(numbers.last().copied());
            }
            if let Some(at) = line.find("\"payload\":\"") {
                let number = line[at + 11..].split(' ').next().unwrap();
                numbers.push(number.parse::<u32>().unwrap());
            }
        }
    }
    let jump = numbers.windows(2).find(|pair| pair[1] != pair[0] + 1);
    assert_eq!(gap, jump.map(|pair| pair[0]), "a hole, and the word before it: {numbers:?}");
    assert!(jump.is_some(), "100 are kept and the buffers are smaller: {numbers:?}");
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_given_up() {
    let limits = Limits { write_deadline: Duration::from_millis(200), ..Limits::default() };
    let house = House::with(limits, log::Limits::default()).await;
    let mut socket = TcpStream::connect(house.address).await.unwrap();
    let token = house.token("68946");
    let request = format!("GET /v1/messages/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    house.waiting(1).await;
    let large = "x".repeat(900_000);
    for _ in 0..20 {
        house.publish("68946_note", &large).await;
    }
    house.waiting(0).await;
    let ended = crate::metrics::Ended { reason: "client_slow" };
    assert_eq!(house.metrics.streams_ended.get_or_create(&ended).get(), 1);
}

#[tokio::test]
async fn a_quiet_stream_is_heard_and_its_cursor_stays_young() {
    let limits = Limits { heartbeat: Duration::from_millis(20), ..Limits::default() };
    let kept = log::Limits { per_command_topic: 1, ..log::Limits::default() };
    let house = House::with(limits, kept).await;
    let mut events = house.stream("68946", None).await;
    assert_eq!(events.event().await.name, "ready");
    // Others fill the log until chapters are dropped: the stream's own cursor would be too old at its next return.
    for _ in 0..40 {
        let batch = (0..64).map(|n| house.publish("chatter", if n == 0 { "a" } else { "b" }));
        futures_util::future::join_all(batch).await;
    }
    assert!(house.log.first() > log::Offset(1), "something was dropped");
    let young = loop {
        let event = events.event().await;
        if event.name == "gap" {
            // Nothing of this user's was dropped, but a machine this slow could not have known.
            continue;
        }
        assert_eq!(event.name, "cursor");
        let cursor: Cursor = event.id.unwrap().parse().unwrap();
        if cursor.offset >= house.log.first().0 {
            break cursor.to_string();
        }
    };
    assert!(events.heartbeats > 0);
    let mut again = house.stream("68946", Some(&young)).await;
    assert_eq!(again.event().await.json()["recovered"], true);
}

#[tokio::test]
async fn a_stream_ends_with_its_reason() {
    let house = House::open().await;
    let token = house.token_until("68946", house.clock.now_s() + 1);
    let request = house.client.get(house.url("/v1/messages/stream")).bearer_auth(token);
    let mut expiring = Events::of(request.send().await.unwrap());
    let mut stopping = house.stream("68946", None).await;
    for (events, reason) in [(&mut expiring, "token_expired"), (&mut stopping, "stopping")] {
        if reason == "stopping" {
            house.shutdown.begin();
        }
        loop {
            let event = events.event().await;
            if event.name == "end" {
                assert_eq!(event.json()["reason"], reason);
                break;
            }
        }
        assert_eq!(events.next().await, None);
        assert_eq!(house.metrics.streams_ended.get_or_create(&crate::metrics::Ended { reason }).get(), 1);
    }
    assert_eq!(house.metrics.streams.get(), 0);
}

#[tokio::test]
async fn polls_and_streams_share_their_places_and_need_a_token() {
    let house = House::with(Limits { polls_per_user: 2, ..Limits::default() }, log::Limits::default()).await;
    let _first = house.stream("68946", None).await;
    let _second = house.stream("68946", None).await;
    refused(house.get("68946", "/v1/messages/stream"), 429, "too_many_polls").await;
    refused(house.get("68946", "/v1/messages"), 429, "too_many_polls").await;
    refused(house.client.get(house.url("/v1/messages/stream")), 401, "token_missing").await;
    let in_the_address = format!("/v1/messages/stream?access_token={}", house.token("23412"));
    refused(house.client.get(house.url(&in_the_address)), 401, "token_missing").await;
    refused(house.client.get(house.url("/v1/messages/stream")).bearer_auth(KEY), 401, "token_malformed").await;
}

#[tokio::test]
async fn an_acknowledgement_names_a_place_in_this_log() {
    let house = House::open().await;
    let cursor = house.publish("68946_note", "one").await;
    let token = house.token("68946");
    let ack = |body: Value| house.post(&token, "/v1/messages/ack?client=phone", body.to_string());
    assert_eq!(ack(json!({ "cursor": cursor })).send().await.unwrap().status(), 204);
    let asked = house.post(&token, &format!("/v1/messages/ack?cursor={cursor}"), "");
    assert_eq!(asked.send().await.unwrap().status(), 204);
    let ahead = Cursor { epoch: EPOCH, offset: house.log.head().0 + 1 }.to_string();
    refused(ack(json!({ "cursor": ahead })), 409, "cursor_unknown").await;
    refused(ack(json!({ "cursor": "0000000000000009-1" })), 409, "cursor_unknown").await;
    for wrong in [json!({}), json!({ "cursor": 7 }), json!({ "cursor": "x" }), json!("x".repeat(5_000))] {
        refused(ack(wrong), 400, "cursor_invalid").await;
    }
    refused(house.client.post(house.url("/v1/messages/ack")), 401, "token_missing").await;
}
