-- handlers: what is done, what could not be done, and contacts. Times are milliseconds since 1970 (UTC).

-- A message that a group of handlers has handled. The outbox holds what is still to be published for it (JSON).
CREATE TABLE handlers_processed (
    group_name      TEXT   NOT NULL,
    message_id      TEXT   NOT NULL,
    processed_at_ms BIGINT NOT NULL,
    outbox          TEXT,
    PRIMARY KEY (group_name, message_id)
);
CREATE INDEX handlers_processed_by_time ON handlers_processed (group_name, processed_at_ms);
CREATE INDEX handlers_processed_waiting ON handlers_processed (group_name, processed_at_ms) WHERE outbox IS NOT NULL;

-- A message that could not be handled. The state is dead, replay or replaying.
CREATE TABLE handlers_dead_letters (
    group_name          TEXT   NOT NULL,
    message_id          TEXT   NOT NULL,
    topic               TEXT   NOT NULL,
    payload             BYTEA  NOT NULL,
    properties          TEXT   NOT NULL,
    error               TEXT   NOT NULL,
    attempts            BIGINT NOT NULL,
    first_attempt_at_ms BIGINT NOT NULL,
    died_at_ms          BIGINT NOT NULL,
    replays             BIGINT NOT NULL,
    state               TEXT   NOT NULL,
    state_since_ms      BIGINT NOT NULL,
    PRIMARY KEY (group_name, message_id)
);
CREATE INDEX handlers_dead_letters_by_time ON handlers_dead_letters (died_at_ms);
CREATE INDEX handlers_dead_letters_by_state ON handlers_dead_letters (group_name, state, state_since_ms);

-- Two users who are contacts, or of whom one asked the other. One row for a pair: `low` is the smaller id (bytewise).
-- X_asked_at_ms is when X asked; both have asked, or one asked and the other accepted, when since_ms is set.
CREATE TABLE handlers_contacts (
    low              TEXT   NOT NULL,
    high             TEXT   NOT NULL,
    low_asked_at_ms  BIGINT,
    high_asked_at_ms BIGINT,
    since_ms         BIGINT,
    PRIMARY KEY (low, high)
);
CREATE INDEX handlers_contacts_by_high ON handlers_contacts (high);
