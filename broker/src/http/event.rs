//! Server-sent events as text (WHATWG HTML, section 9.2): a few `name: value` lines and an empty one.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;
use tidings_shared::cursor::Cursor;

use super::answer::item;
use crate::log::Stored;

/// A comment: keeps proxies from closing a quiet stream, and shows a dead socket.
pub(super) const HEARTBEAT: &str = ":\n\n";

/// Why a stream ends. The words are part of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The token's time is over: come back with a new one.
    TokenExpired,
    /// The token was revoked: another one is needed.
    TokenRevoked,
    /// The broker stops: come back in a moment.
    Stopping,
    /// The log could not be read; the server's own log says why.
    Internal,
}

impl Reason {
    /// The word that the client is told.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::TokenExpired => "token_expired",
            Self::TokenRevoked => "token_revoked",
            Self::Stopping => "stopping",
            Self::Internal => "internal",
        }
    }
}

#[derive(Serialize)]
struct Place {
    recovered: bool,
    cursor: String,
}

#[derive(Serialize)]
struct Cursored {
    cursor: String,
}

#[derive(Serialize)]
struct Ended {
    reason: &'static str,
    cursor: String,
}

/// The first event: where the stream begins, whether everything behind the client's cursor can be told, and how long to
/// wait before coming back, should the connection break.
pub(super) fn ready(text: &mut String, retry: Duration, recovered: bool, cursor: Cursor) {
    // In one event with the rest: some clients make an empty message of a `retry` that stands alone.
    // (Writing to a text cannot fail.)
    let _ = writeln!(text, "retry: {}", retry.as_millis());
    event(text, Some(cursor), "ready", &Place { recovered, cursor: cursor.to_string() });
}

/// Something between the last message and the next one is gone.
pub(super) fn gap(text: &mut String, cursor: Cursor) {
    event(text, None, "gap", &Place { recovered: false, cursor: cursor.to_string() });
}

/// One message.
pub(super) fn message(text: &mut String, epoch: u64, (offset, message): &Stored) {
    let cursor = Cursor { epoch, offset: offset.0 };
    event(text, Some(cursor), "message", &item(message, cursor));
}

/// A newer cursor without a message, so that the client's own does not grow older than what is kept.
pub(super) fn cursor(text: &mut String, cursor: Cursor) {
    event(text, Some(cursor), "cursor", &Cursored { cursor: cursor.to_string() });
}

/// The last event.
pub(super) fn end(text: &mut String, reason: Reason, cursor: Cursor) {
    event(text, None, "end", &Ended { reason: reason.word(), cursor: cursor.to_string() });
}

/// JSON has no line breaks, so the data is one line.
fn event(text: &mut String, id: Option<Cursor>, name: &str, data: &impl Serialize) {
    let Ok(data) = serde_json::to_string(data) else { return };
    if let Some(id) = id {
        let _ = writeln!(text, "id: {id}");
    }
    let _ = write!(text, "event: {name}\ndata: {data}\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_lines_and_an_empty_one() {
        let at = Cursor { epoch: 7, offset: 42 };
        let mut text = String::new();
        ready(&mut text, Duration::from_millis(1_500), true, at);
        gap(&mut text, at);
        cursor(&mut text, at);
        end(&mut text, Reason::TokenExpired, at);
        let expected = [
            "retry: 1500\nid: 0000000000000007-42\nevent: ready\ndata: {\"recovered\":true,\"cursor\":\"0000000000000007-42\"}\n\n",
            "event: gap\ndata: {\"recovered\":false,\"cursor\":\"0000000000000007-42\"}\n\n",
            "id: 0000000000000007-42\nevent: cursor\ndata: {\"cursor\":\"0000000000000007-42\"}\n\n",
            "event: end\ndata: {\"reason\":\"token_expired\",\"cursor\":\"0000000000000007-42\"}\n\n",
        ];
        assert_eq!(text, expected.concat());
    }
}
