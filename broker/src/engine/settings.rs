//! What can be set about the engine, and what it counts.

/// Limits and times of the engine. Every one bounds memory or work.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The longest session expiry, seconds; what clients ask for beyond it is lowered (and told in CONNACK).
    /// `u32::MAX` lets sessions live for ever.
    pub max_session_expiry_s: u32,
    /// Publishes with QoS > 0 that a client may have unacknowledged (CONNACK Receive Maximum).
    pub receive_maximum: u16,
    /// Messages with QoS > 0 that are sent to a client ahead of its acknowledgements, however many it allows.
    pub max_inflight: u16,
    /// Payload bytes that are sent ahead of acknowledgements (one message always may be).
    pub max_inflight_bytes: usize,
    /// Topic aliases that a client may set (CONNACK Topic Alias Maximum).
    pub topic_alias_maximum: u16,
    /// The largest packet a client may send, told in CONNACK; the gate enforces it.
    pub max_packet_size: Option<u32>,
    /// Subscriptions of one session.
    pub max_subscriptions: usize,
    /// Levels of a topic filter.
    pub max_filter_levels: usize,
    /// Bytes of a client id.
    pub max_client_id_bytes: usize,
    /// Sessions of one user, connected or not.
    pub max_sessions_per_user: u32,
    /// Retained messages, all together.
    pub max_retained: usize,
    /// Bytes of retained topics and payloads, all together.
    pub max_retained_bytes: usize,
    /// How long a message may stay unacknowledged before its user is reported.
    pub wake_grace_ms: i64,
    /// How long it is remembered when a user without a session was last seen.
    pub presence_keep_ms: i64,
    /// How long a member of a shared group may keep a message before it is passed over; 0 for ever.
    pub group_ack_timeout_ms: i64,
    /// How often cursors are written.
    pub flush_ms: i64,
    /// How many messages are read from the log at once to catch up.
    pub read_batch: usize,
    /// Topics and filters that are commands although they look like a user's (`broker.topics.commands`).
    pub commands: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_session_expiry_s: 7 * 24 * 3600,
            receive_maximum: 256,
            max_inflight: 256,
            max_inflight_bytes: 1 << 20,
            topic_alias_maximum: 16,
            max_packet_size: None,
            max_subscriptions: 1_000,
            max_filter_levels: 64,
            max_client_id_bytes: 256,
            max_sessions_per_user: 100,
            max_retained: 100_000,
            max_retained_bytes: 256 << 20,
            wake_grace_ms: 3_000,
            presence_keep_ms: 7 * 24 * 3_600_000,
            group_ack_timeout_ms: 30_000,
            flush_ms: 1_000,
            read_batch: 64,
            commands: Vec::new(),
        }
    }
}

/// What the engine has done since it started, and what it holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections now.
    pub connections: u64,
    /// Sessions now, connected or not.
    pub sessions: u64,
    /// Subscriptions now.
    pub subscriptions: u64,
    /// Retained messages now.
    pub retained: u64,
    /// Publishes that came in, QoS 0 to 2.
    pub received: [u64; 3],
    /// PUBLISH packets sent, QoS 0 to 2.
    pub sent: [u64; 3],
    /// Publishes appended to the log.
    pub stored: u64,
    /// Publishes whose message id had been seen before.
    pub duplicates: u64,
    /// Publishes, wills and subscriptions that the topic rules forbade.
    pub refused: u64,
    /// Publishes that could not be stored.
    pub not_stored: u64,
    /// Deliveries left out because the message had expired.
    pub expired: u64,
    /// Deliveries left out because the message was larger than the client takes.
    pub too_large: u64,
    /// QoS 0 deliveries dropped because the client does not read fast enough.
    pub dropped: u64,
    /// Connections taken over by a new one of the same client.
    pub takeovers: u64,
    /// Messages of shared groups that were given to another member because the first did not acknowledge in time.
    pub reassigned: u64,
    /// Members of shared groups that were passed over for it.
    pub stalled: u64,
    /// Times that retention had dropped messages before their reader got to them.
    pub holes: u64,
    /// Wake-up events published.
    pub wakes: u64,
    /// Wills that could not be stored.
    pub wills_lost: u64,
}
