//! One push: checked, answered, delivered, or treated as a script says.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response, StatusCode};

use super::auth::Sender;
use super::channels::{Managed, Route, route};
use super::connection::{Connection, Unanswered};
use super::reason::Refusal;
use super::request::{self, PushRequest};
use super::{ApnsAction, ApnsSimulator, ConnectionCommand, ScriptedAnswer, lock};
use crate::inbox::{Provider, Push};

/// How much of a payload that is far too large is read before the answer.
const MAX_UPLOAD: usize = 1024 * 1024;

/// Answers one stream.
pub(crate) async fn answer(
    simulator: ApnsSimulator,
    unanswered: Unanswered,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let connection = unanswered.connection();
    let (parts, body) = request.into_parts();
    if matches!(route(parts.uri.path()), Route::Channel(_) | Route::AllChannels(_)) {
        return manage(&simulator, &connection, parts, body, &mut respond).await;
    }
    let id = match route(parts.uri.path()) {
        Route::Broadcast(_) => Id::request(&parts.headers),
        _ => Id { name: "apns-id", value: request::apns_id(&parts.headers) },
    };
    let judged = judge(&simulator, &connection, &parts, body).await;
    let (request, sender, payload) = match judged {
        Ok(accepted) => accepted,
        Err(refusal) => {
            if refusal.status == StatusCode::FORBIDDEN {
                connection.distrusted();
            }
            return finish(&simulator, &connection, &mut respond, &id, Err(refusal));
        }
    };
    let hit = simulator.0.script.next(&request.token, &sender.topic);
    let push = Push {
        seq: 0,
        provider: Provider::Apns,
        token: request.token,
        id: id.value.clone(),
        at_ms: simulator.0.clock.now_ms(),
        topic: sender.topic,
        headers: apns_headers(&parts.headers),
        sender: sender.name,
        connection: connection.number,
        payload,
    };
    let Some(hit) = hit else {
        simulator.0.inbox.deliver(push);
        connection.proven();
        return finish(&simulator, &connection, &mut respond, &id, Ok(()));
    };

    let accepts = matches!(&hit.action, ApnsAction::Accept | ApnsAction::StreamLimit(_))
        || matches!(&hit.action, ApnsAction::Goaway(goaway) if !goaway.unprocessed);
    if accepts || hit.delivered {
        simulator.0.inbox.deliver(push);
    }
    if !hit.delay.is_zero() {
        tokio::select! {
            () = tokio::time::sleep(hit.delay) => {}
            _ = reset_by_client(&mut respond) => return connection.stream_done(),
        }
    }
    match hit.action {
        ApnsAction::Accept => {
            connection.proven();
            finish(&simulator, &connection, &mut respond, &id, Ok(()));
        }
        ApnsAction::StreamLimit(limit) => {
            connection.proven();
            connection.set_max_streams(limit);
            finish(&simulator, &connection, &mut respond, &id, Ok(()));
        }
        ApnsAction::Answer(answer) => {
            let outcome = scripted(&answer);
            match &outcome {
                Ok(()) => connection.proven(),
                Err(refusal) if refusal.status == StatusCode::FORBIDDEN => connection.distrusted(),
                Err(_) => {}
            }
            finish(&simulator, &connection, &mut respond, &id, outcome);
        }
        ApnsAction::Goaway(goaway) if goaway.unprocessed => {
            // The stream before this one is the last that is answered; clients count in twos.
            let last = respond.stream_id().as_u32().saturating_sub(2);
            connection.go_away(&goaway.reason, Some(last));
            connection.stream_done();
            drop(unanswered);
            let _ = reset_by_client(&mut respond).await;
        }
        ApnsAction::Goaway(goaway) => {
            connection.go_away(&goaway.reason, None);
            finish(&simulator, &connection, &mut respond, &id, Ok(()));
        }
        ApnsAction::Stall => {
            drop(unanswered);
            let _ = reset_by_client(&mut respond).await;
            connection.stream_done();
        }
        ApnsAction::Reset => {
            connection.stream_done();
            respond.send_reset(Reason::INTERNAL_ERROR);
        }
        ApnsAction::Cut => {
            connection.command(ConnectionCommand::Cut);
            let _ = reset_by_client(&mut respond).await;
            connection.stream_done();
        }
    }
}

/// Whether the push may be sent, by whom, and what it carries.
async fn judge(
    simulator: &ApnsSimulator,
    connection: &Connection,
    parts: &http::request::Parts,
    body: RecvStream,
) -> Result<(PushRequest, Sender, serde_json::Value), Refusal> {
    // All of it before any answer: some clients take an answer during their upload for a broken stream.
    let payload = read_body(body).await;
    if let Route::Broadcast(bundle) = route(parts.uri.path()) {
        let sender = authenticate_for(simulator, connection, &parts.headers, bundle)?;
        let here = connection.identity.environment;
        let request = simulator.0.channels.check_broadcast(here, bundle, &parts.method, &parts.headers)?;
        let payload = request::check_payload(&payload, &request)?;
        return Ok((request, sender, payload));
    }
    let token = request::path_token(&parts.method, &parts.uri)?;
    let sender = simulator.0.checker.authenticate(&parts.headers, &connection.identity)?;
    let request = request::check(token, &parts.headers)?;
    let payload = request::check_payload(&payload, &request)?;
    check_token(simulator, connection, &request, &sender)?;
    Ok((request, sender, payload))
}

/// The sender of a request whose topic stands in its path.
fn authenticate_for(
    simulator: &ApnsSimulator,
    connection: &Connection,
    headers: &HeaderMap,
    bundle: &str,
) -> Result<Sender, Refusal> {
    let sender = simulator.0.checker.authenticate_for(Some(bundle), headers, &connection.identity);
    sender.map_err(|refusal| if refusal.reason == "TopicDisallowed" { Refusal::new("TopicMismatch") } else { refusal })
}

/// Answers a request of the channels' management.
async fn manage(
    simulator: &ApnsSimulator,
    connection: &Connection,
    parts: http::request::Parts,
    body: RecvStream,
    respond: &mut SendResponse<Bytes>,
) {
    let id = Id::request(&parts.headers);
    let body = read_body(body).await;
    let route = route(parts.uri.path());
    let (Route::Channel(bundle) | Route::AllChannels(bundle)) = route else { return };
    let here = connection.identity.environment;
    let managed = match simulator.0.script.next("channels", bundle).map(|hit| hit.action) {
        Some(ApnsAction::Answer(answer)) => Err(scripted(&answer).err().unwrap_or_else(|| Refusal::new(""))),
        _ => authenticate_for(simulator, connection, &parts.headers, bundle)
            .and_then(|_| simulator.0.channels.manage(here, route, &parts.method, &parts.headers, &body)),
    };
    let Managed { status, channel, body } = match managed {
        Ok(managed) => managed,
        Err(refusal) => return finish(simulator, connection, respond, &id, Err(refusal)),
    };
    connection.proven();
    connection.stream_done();
    let mut response = Response::builder().status(status).header(id.name, &id.value);
    if let Some(channel) = channel {
        response = response.header("apns-channel-id", channel);
    }
    let Ok(response) = response.body(()) else { return };
    if let Ok(mut stream) = respond.send_response(response, body.is_none())
        && let Some(body) = body
    {
        let _ = stream.send_data(Bytes::from(body.to_string()), true);
    }
}

/// How the answer names the request.
struct Id {
    name: &'static str,
    value: String,
}

impl Id {
    /// The request's own when it is a UUID, else a new one.
    fn request(headers: &HeaderMap) -> Self {
        let own = headers.get("apns-request-id").and_then(|id| id.to_str().ok());
        let own = own.filter(|id| uuid::Uuid::try_parse(id).is_ok()).map(str::to_owned);
        Self { name: "apns-request-id", value: own.unwrap_or_else(|| uuid::Uuid::new_v4().to_string()) }
    }
}

/// Reads the payload, as much of it as is needed to see that it is too large. Only a senseless upload is not read to
/// its end.
async fn read_body(mut body: RecvStream) -> Bytes {
    let mut payload = BytesMut::new();
    let mut received = 0;
    // An error: the client has given up, and the answer, if any, reaches nobody.
    while let Some(Ok(chunk)) = body.data().await {
        let _ = body.flow_control().release_capacity(chunk.len());
        if received == 0 && body.is_end_stream() {
            return chunk;
        }
        received += chunk.len();
        if payload.len() <= request::MAX_VOIP_PAYLOAD {
            payload.extend_from_slice(&chunk);
        }
        if received > MAX_UPLOAD {
            break;
        }
    }
    payload.freeze()
}

fn check_token(
    simulator: &ApnsSimulator,
    connection: &Connection,
    request: &PushRequest,
    sender: &Sender,
) -> Result<(), Refusal> {
    let tokens = lock(&simulator.0.tokens);
    let Some(known) = tokens.get(&request.token) else {
        return if simulator.0.options.strict_tokens { Err(Refusal::new("BadDeviceToken")) } else { Ok(()) };
    };
    if let (Some(belongs), Some(here)) = (known.environment, connection.identity.environment)
        && belongs != here
    {
        return Err(Refusal::new("BadDeviceToken"));
    }
    if known.topic.as_deref().is_some_and(|topic| topic != request::base_topic(&sender.topic)) {
        return Err(Refusal::new("DeviceTokenNotForTopic"));
    }
    if let Some(gone_at_ms) = known.gone_at_ms {
        let reason = known.gone_reason.clone().unwrap_or_else(|| "Unregistered".to_owned());
        return Err(Refusal { status: StatusCode::GONE, ..Refusal::gone(reason, gone_at_ms) });
    }
    Ok(())
}

fn scripted(answer: &ScriptedAnswer) -> Result<(), Refusal> {
    let reason = answer.reason.clone().unwrap_or_default();
    let refusal = Refusal::new(reason);
    let status = answer.status.and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or(refusal.status);
    if status == StatusCode::OK {
        return Ok(());
    }
    let retry_after = answer.retry_after.map(|seconds| (seconds, answer.retry_after_form));
    Err(Refusal { status, timestamp: answer.timestamp, retry_after, ..refusal })
}

fn finish(
    simulator: &ApnsSimulator,
    connection: &Connection,
    respond: &mut SendResponse<Bytes>,
    id: &Id,
    outcome: Result<(), Refusal>,
) {
    let mut response = Response::builder().header(id.name, &id.value);
    let body = match outcome {
        Ok(()) => {
            simulator.0.accepted.fetch_add(1, Ordering::Relaxed);
            String::new()
        }
        Err(refusal) => {
            *lock(&simulator.0.refused).entry(refusal.reason.to_string()).or_default() += 1;
            response = response.status(refusal.status);
            if let Some((seconds, form)) = refusal.retry_after {
                response = response.header("retry-after", form.value(seconds, simulator.0.clock.now_s()));
            }
            if refusal.reason.is_empty() { String::new() } else { refusal.body() }
        }
    };
    connection.stream_done();
    let Ok(response) = response.body(()) else { return };
    if let Ok(mut stream) = respond.send_response(response, body.is_empty())
        && !body.is_empty()
    {
        // Only a connection that is gone refuses this.
        let _ = stream.send_data(Bytes::from(body), true);
    }
}

async fn reset_by_client(respond: &mut SendResponse<Bytes>) -> Result<Reason, h2::Error> {
    std::future::poll_fn(|cx| respond.poll_reset(cx)).await
}

fn apns_headers(headers: &HeaderMap) -> BTreeMap<String, String> {
    headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("apns-"))
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect()
}
