//! Who is at the door: user name `JWT` with a token (or, in MQTT 5, authentication method `JWT`), or user name `handler`
//! with a shared key. Nobody else.

use std::net::IpAddr;
use std::time::Duration;

use rmqtt_codec::v5::{Connect, ConnectAckReason};
use tidings_shared::auth::{Claims, TokenError};
use tidings_shared::topic::access::Principal;

use super::backoff::{Attempt, Backoff, Kind};
use super::{Inner, Limits};
use crate::engine::{METHOD, TokenFacts};

/// The user name of a device, whose password is its token.
pub const TOKEN_USER: &str = "JWT";
/// The user name of a handler, whose password is a shared key.
pub const HANDLER_USER: &str = "handler";

/// A verified log-in.
#[derive(Debug)]
pub(super) struct Login {
    pub(super) principal: Principal,
    /// What revocations look at; `None` for handlers.
    pub(super) token: Option<Box<TokenFacts>>,
    /// When the connection has to end: at the token's `exp`, or at the end of the leeway when only that made it good.
    /// `None` for handlers with a key, and for tokens without `exp` where those are allowed.
    pub(super) ends_at_ms: Option<i64>,
}

/// A refused log-in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// For CONNACK; 3.1.1's return code follows from it.
    pub(super) reason: ConnectAckReason,
    /// A documented code, for logs and metrics.
    pub(super) code: &'static str,
    /// Which check failed, for the client's reason string.
    pub(super) why: String,
}

impl Refused {
    pub(super) fn new(reason: ConnectAckReason, code: &'static str, why: impl Into<String>) -> Self {
        Self { reason, code, why: why.into() }
    }

    /// Whether it counts as a failed log-in: what may be good in a moment does not.
    pub(super) fn counts(&self) -> bool {
        let refused = [ConnectAckReason::BadUserNameOrPassword, ConnectAckReason::NotAuthorized].contains(&self.reason);
        refused && self.code != NOT_YET_VALID
    }
}

/// The code of a token that only came early.
pub(super) const NOT_YET_VALID: &str = "token_not_yet_valid";

/// What an arrival is told when the broker stops.
pub(super) fn stopping(limits: &Limits) -> Refused {
    let (reason, why) = match limits.server_reference {
        Some(_) => {
            (ConnectAckReason::UseAnotherServer, "the server is stopping; connect to the one that is referred to")
        }
        None => (ConnectAckReason::ServerUnavailable, "the server is stopping"),
    };
    Refused::new(reason, "server_shutting_down", why)
}

/// What is told to who has failed too often.
pub(super) fn held_back(left: Duration) -> Refused {
    let why = format!("too many failed log-ins; try again in {} s", left.as_secs_f64().ceil());
    Refused::new(ConnectAckReason::ConnectionRateExceeded, "login_backoff", why)
}

/// This log-in, for counting failures.
pub(super) fn attempt(connect: &Connect, address: IpAddr, backoff: &Backoff) -> Attempt {
    let by_method = connect.auth_method.as_deref() == Some(METHOD);
    let secret = connect.auth_data.as_deref().filter(|_| by_method).or(connect.password.as_deref()).unwrap_or_default();
    let user = connect.username.as_deref().unwrap_or_default();
    let kind = if by_method || user == TOKEN_USER { Kind::Token } else { Kind::Key };
    backoff.attempt(address, kind, user.as_bytes(), secret.trim_ascii())
}

/// Checks a token, as the password of CONNECT, as Authentication Data, or as a fresh one.
pub(super) async fn verify(gate: &Inner, token: &[u8]) -> Result<Claims, TokenError> {
    let token = std::str::from_utf8(token).map_err(|_| TokenError::Malformed)?.trim_ascii();
    let claims = gate.verifier.verify(token).await?;
    gate.engine.revocations().admit(&claims)?;
    Ok(claims)
}

async fn device(gate: &Inner, token: &[u8]) -> Result<Login, Refused> {
    let claims = verify(gate, token).await.map_err(|error| token_refused(&error))?;
    Ok(Login { principal: claims.principal(), token: TokenFacts::of(&claims), ends_at_ms: claims.ends_at_ms })
}

/// Checks who a CONNECT says that it is. Whoever has shown a client certificate of `broker.tls.client_ca` is let in as
/// handler without a key, until the certificate expires.
pub(super) async fn check(connect: &Connect, gate: &Inner, certified_until_ms: Option<i64>) -> Result<Login, Refused> {
    let bad = |code, why: &str| Refused::new(ConnectAckReason::BadUserNameOrPassword, code, why);
    let password = connect.password.as_deref();
    match connect.auth_method.as_deref() {
        None => {}
        Some(METHOD) => {
            // The token is the Authentication Data; or, for clients that can only announce the method, the password.
            let as_password = password.filter(|_| connect.username.as_deref() == Some(TOKEN_USER));
            return match connect.auth_data.as_deref().or(as_password) {
                Some(token) => device(gate, token).await,
                None => Err(bad("token_malformed", "the authentication data of method JWT is the token")),
            };
        }
        Some(_) => {
            let why = "the authentication method is JWT (data: the token), or none";
            return Err(Refused::new(ConnectAckReason::BadAuthenticationMethod, "authentication_method", why));
        }
    }
    match (connect.username.as_deref(), password) {
        (Some(TOKEN_USER), Some(token)) => device(gate, token).await,
        (Some(TOKEN_USER), None) => Err(bad("token_malformed", "the password of user JWT is its token")),
        (Some(HANDLER_USER), Some(key)) if std::str::from_utf8(key).is_ok_and(|key| gate.keys.accepts(key)) => {
            Ok(Login { principal: Principal::Handler, token: None, ends_at_ms: None })
        }
        (Some(HANDLER_USER), None) if certified_until_ms.is_some() => {
            Ok(Login { principal: Principal::Handler, token: None, ends_at_ms: certified_until_ms })
        }
        (Some(HANDLER_USER), _) => Err(bad("handler_key", "this is not a handler key")),
        (Some(_), _) => Err(bad("user_name", "the user name is JWT (password: a token) or handler (password: a key)")),
        (None, _) => {
            Err(bad("user_name", "log in with user name JWT (password: a token) or handler (password: a key)"))
        }
    }
}

fn token_refused(error: &TokenError) -> Refused {
    let reason = match error {
        error if error.is_outage() => ConnectAckReason::ServerUnavailable,
        TokenError::Revoked => ConnectAckReason::NotAuthorized,
        _ => ConnectAckReason::BadUserNameOrPassword,
    };
    Refused::new(reason, error.code(), error.to_string())
}
