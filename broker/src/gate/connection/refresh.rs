//! A fresh token on a live connection: AUTH, or a PUBLISH on [`names::TOKEN`]. The token itself goes no further than here.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;
use rmqtt_codec::types::Publish;
use rmqtt_codec::v5::{Auth, AuthReasonCode, DisconnectReasonCode};
use tidings_shared::topic::names;

use super::Connection;
use super::end::End;
use crate::engine::{Fresh, METHOD, NotRefreshed, RefreshBy, TokenFacts};
use crate::gate::login;
use crate::gate::stream::Stream;
use crate::gate::wire::Fault;

impl<S: Stream> Connection<S> {
    /// Whether a PUBLISH brings a token: by its topic, or by the alias that stands for it.
    pub(super) fn brings_token(&mut self, publish: &Publish) -> bool {
        let alias =
            publish.properties.as_ref().and_then(|properties| properties.topic_alias).map_or(0, |alias| alias.get());
        if publish.topic.is_empty() {
            return alias != 0 && alias == self.token_alias;
        }
        let is_token = &*publish.topic == names::TOKEN;
        if alias != 0 && is_token {
            self.token_alias = alias;
        } else if alias != 0 && alias == self.token_alias {
            self.token_alias = 0;
        }
        is_token
    }

    /// A fresh token was published.
    pub(super) async fn token_published(&mut self, mut publish: Box<Publish>) -> Result<(), End> {
        let token = std::mem::take(&mut publish.payload);
        // A refusal is the client's to read in the acknowledgement.
        self.refresh(RefreshBy::Publish(publish), token).await.map(drop)
    }

    /// AUTH (MQTT 5, sections 3.15 and 4.12.1).
    pub(super) async fn reauthenticate(&mut self, auth: Auth) -> Result<(), End> {
        let fault = |what| Err(End::Fault(Fault::protocol(what)));
        if !self.by_method {
            return fault("AUTH without an authentication method in CONNECT");
        }
        if auth.reason_code != AuthReasonCode::ReAuth {
            return fault("a client begins with AUTH 0x19, and is asked for nothing more");
        }
        let refused = |reason, code, why: &str| Err(End::refused(reason, code, why));
        match auth.auth_method.as_deref() {
            Some(METHOD) => {}
            Some(_) => {
                let why = "the authentication method is the one of CONNECT: JWT";
                return refused(DisconnectReasonCode::BadAuthenticationMethod, "authentication_method", why);
            }
            None => return fault("AUTH without an authentication method"),
        }
        match self.refresh(RefreshBy::Auth, auth.auth_data.unwrap_or_default()).await? {
            Ok(()) => Ok(()),
            Err(refusal) if refusal.outage => refused(DisconnectReasonCode::ServerBusy, refusal.code, &refusal.why),
            Err(refusal) => refused(DisconnectReasonCode::NotAuthorized, refusal.code, &refusal.why),
        }
    }

    async fn refresh(&mut self, by: RefreshBy, token: Bytes) -> Result<Result<(), NotRefreshed>, End> {
        let gate = self.gate.clone();
        let verified = self.while_alive(async move { login::verify(&gate, &token).await }).await?;
        let ends_at_ms = verified.as_ref().ok().and_then(|claims| claims.ends_at_ms);
        let fresh = match verified {
            Ok(claims) => Ok(Fresh { principal: claims.principal(), token: TokenFacts::of(&claims) }),
            Err(error) => Err(NotRefreshed { code: error.code(), why: error.to_string(), outage: error.is_outage() }),
        };
        let (engine, conn) = (self.gate.engine.clone(), self.conn);
        let answer = self.while_alive(async move { engine.refresh(conn, by, fresh).await }).await?;
        let answer = answer.map_err(|_| End::Stopped)?;
        match &answer {
            Ok(()) => {
                self.ends_at_ms = ends_at_ms;
                let next = self.next_deadline();
                self.timer.as_mut().reset(next);
                tracing::debug!(peer = %self.peer, conn = conn.0, "token refreshed");
            }
            Err(refusal) => {
                tracing::debug!(peer = %self.peer, conn = conn.0, code = refusal.code, "a fresh token was refused");
            }
        }
        Ok(answer)
    }

    /// Waits for something, and goes on sending meanwhile. Whatever ends the connection ends the wait: an issuer that does
    /// not answer prolongs no token.
    async fn while_alive<T>(&mut self, future: impl Future<Output = T>) -> Result<T, End> {
        let mut future = pin!(future);
        poll_fn(|cx| {
            if let Poll::Ready(value) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(value));
            }
            while self.timer.as_mut().poll(cx).is_ready() {
                match self.overdue() {
                    // The packet has just come; nothing is read meanwhile.
                    Some(End::KeepAlive) | None => {
                        let next = self.next_deadline();
                        self.timer.as_mut().reset(next);
                    }
                    Some(end) => return Poll::Ready(Err(end)),
                }
            }
            match self.poll_output(cx) {
                Poll::Ready(end) => Poll::Ready(Err(end)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }
}
