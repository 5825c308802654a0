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

-- requester asks to become a contact of target.
CREATE TABLE handlers_contact_requests (
    requester       TEXT   NOT NULL,
    target          TEXT   NOT NULL,
    requested_at_ms BIGINT NOT NULL,
    PRIMARY KEY (requester, target)
);
CREATE INDEX handlers_contact_requests_by_target ON handlers_contact_requests (target);

-- Contacts, a row for each direction. requested_by is whoever asked first.
CREATE TABLE handlers_contacts (
    owner        TEXT   NOT NULL,
    contact      TEXT   NOT NULL,
    requested_by TEXT   NOT NULL,
    since_ms     BIGINT NOT NULL,
    PRIMARY KEY (owner, contact)
);
