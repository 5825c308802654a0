//! What a connection's task asks of its frames, and what is known of the client's answers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{BufMut, BytesMut};

use super::{FLAG_ACK, HEADER, SETTING_MAX_CONCURRENT_STREAMS, TYPE_GOAWAY, TYPE_HEADERS, TYPE_SETTINGS};

/// The door through which a connection's task asks for frames. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct FrameControl(Arc<Mutex<State>>);

#[derive(Debug)]
pub(super) struct State {
    /// Frames to add at the next frame boundary.
    inject: BytesMut,
    /// SETTINGS that are on their way, oldest first: acknowledgements come in the same order.
    pub(super) unacknowledged: VecDeque<Sent>,
    pub(super) first_limit: u32,
    pub(super) first_settings_sent: bool,
    /// The stream limit which the client has acknowledged; before that it may open as many as it likes.
    acknowledged_limit: Option<u32>,
    announced_limit: u32,
    highest_stream: u32,
    pub(super) going_away: bool,
}

#[derive(Debug)]
pub(super) struct Sent {
    pub(super) ours: bool,
    pub(super) limit: Option<u32>,
}

impl FrameControl {
    /// `first_limit` is what the connection's first SETTINGS will say.
    pub(crate) fn new(first_limit: u32) -> Self {
        Self(Arc::new(Mutex::new(State {
            inject: BytesMut::new(),
            unacknowledged: VecDeque::new(),
            first_limit,
            first_settings_sent: false,
            acknowledged_limit: None,
            announced_limit: first_limit,
            highest_stream: 0,
            going_away: false,
        })))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Announces another limit of concurrent streams, unless it is the one announced last.
    pub(crate) fn set_stream_limit(&self, limit: u32) {
        let mut state = self.state();
        if state.announced_limit == limit {
            return;
        }
        state.announced_limit = limit;
        state.unacknowledged.push_back(Sent { ours: true, limit: Some(limit) });
        put_header(&mut state.inject, 6, TYPE_SETTINGS, 0);
        state.inject.put_u16(SETTING_MAX_CONCURRENT_STREAMS);
        state.inject.put_u32(limit);
    }

    /// The limit that the client can be held to: none before it has acknowledged one, and never a lower one than
    /// it was told last, because it may use that as soon as it has read it.
    pub(crate) fn enforced_limit(&self) -> Option<u32> {
        let state = self.state();
        state.acknowledged_limit.map(|acknowledged| acknowledged.max(state.announced_limit))
    }

    /// Says GOAWAY (NO_ERROR) with `debug_data`; streams up to `last_stream`, or all that the client has opened
    /// until now, are still answered.
    pub(crate) fn go_away(&self, debug_data: &[u8], last_stream: Option<u32>) {
        let mut state = self.state();
        if state.going_away {
            return;
        }
        state.going_away = true;
        let last_stream = last_stream.unwrap_or(state.highest_stream);
        put_header(&mut state.inject, 8 + debug_data.len(), TYPE_GOAWAY, 0);
        state.inject.put_u32(last_stream);
        state.inject.put_u32(0);
        state.inject.put_slice(debug_data);
    }
}

impl State {
    /// Notes a frame of the client; false when `h2` must not see it.
    pub(super) fn client_frame(&mut self, header: &[u8; HEADER]) -> bool {
        let (kind, flags) = (header[3], header[4]);
        if kind == TYPE_HEADERS {
            let stream = u32::from_be_bytes([header[5] & 0x7f, header[6], header[7], header[8]]);
            if !self.going_away {
                self.highest_stream = self.highest_stream.max(stream);
            }
        }
        if kind == TYPE_SETTINGS && flags & FLAG_ACK != 0 {
            // An acknowledgement of nothing is for h2 to complain about.
            let Some(sent) = self.unacknowledged.pop_front() else { return true };
            if sent.limit.is_some() {
                self.acknowledged_limit = sent.limit;
            }
            return !sent.ours;
        }
        true
    }

    pub(super) fn take_injected(&mut self, out: &mut BytesMut) {
        if !self.inject.is_empty() && self.first_settings_sent {
            out.put_slice(&self.inject);
            self.inject.clear();
        }
    }
}

pub(super) fn put_header(out: &mut BytesMut, length: usize, kind: u8, flags: u8) {
    let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    out.put_slice(&length[1..]);
    out.put_u8(kind);
    out.put_u8(flags);
    out.put_u32(0);
}
