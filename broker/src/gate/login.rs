//! Who is at the door: user name `JWT` with a token, or user name `handler` with a shared key. Nobody else.

use std::net::IpAddr;
use std::time::Duration;

use rmqtt_codec::v5::{Connect, ConnectAckReason};
use tidings_shared::auth::{ServiceKeys, TokenError, Verifier};
use tidings_shared::topic::access::Principal;

use super::Limits;
use super::backoff::{Attempt, Backoff, Kind};

/// The user name of a device, whose password is its token.
pub const TOKEN_USER: &str = "JWT";
/// The user name of a handler, whose password is a shared key.
pub const HANDLER_USER: &str = "handler";

/// A verified log-in.
#[derive(Debug)]
pub(super) struct Login {
    pub(super) principal: Principal,
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
        self.reason == ConnectAckReason::BadUserNameOrPassword && self.code != NOT_YET_VALID
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
    let user = connect.username.as_deref().unwrap_or_default();
    let kind = if user == TOKEN_USER { Kind::Token } else { Kind::Key };
    backoff.attempt(address, kind, user.as_bytes(), connect.password.as_deref().unwrap_or_default())
}

/// Checks user name and password of a CONNECT. Whoever has shown a client certificate of `broker.tls.client_ca` is let
/// in as handler without a key, until the certificate expires.
pub(super) async fn check(
    connect: &Connect,
    verifier: &Verifier,
    keys: &ServiceKeys,
    certified_until_ms: Option<i64>,
    now_ms: i64,
) -> Result<Login, Refused> {
    let bad = |code, why: &str| Refused::new(ConnectAckReason::BadUserNameOrPassword, code, why);
    if connect.auth_method.is_some() {
        let why = "extended authentication is not offered here; log in with user name and password";
        return Err(Refused::new(ConnectAckReason::BadAuthenticationMethod, "authentication_method", why));
    }
    let password = connect.password.as_ref().map(|password| std::str::from_utf8(password));
    match (connect.username.as_deref(), password) {
        (Some(TOKEN_USER), Some(Ok(token))) => match verifier.verify(token).await {
            Ok(claims) => {
                let ends = |at: i64| if at > now_ms { at } else { at.saturating_add(verifier.leeway_ms()) };
                Ok(Login { principal: claims.principal(), ends_at_ms: claims.expires_at_ms.map(ends) })
            }
            Err(error) => Err(token_refused(&error)),
        },
        (Some(TOKEN_USER), _) => Err(bad("token_malformed", "the password of user JWT is its token")),
        (Some(HANDLER_USER), Some(Ok(key))) if keys.accepts(key) => {
            Ok(Login { principal: Principal::Handler, ends_at_ms: None })
        }
        (Some(HANDLER_USER), None) if certified_until_ms.is_some() => {
            Ok(Login { principal: Principal::Handler, ends_at_ms: certified_until_ms })
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
        TokenError::KeysUnavailable => ConnectAckReason::ServerUnavailable,
        _ => ConnectAckReason::BadUserNameOrPassword,
    };
    Refused::new(reason, error.code(), error.to_string())
}
