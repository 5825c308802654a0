-- The passbook-service: passes, who has them, which change each has seen, and the pushes that announce changes.
-- Times are milliseconds since 1970 (UTC) but for last_modified; flags are 0 or 1.

-- One row. Whoever holds its lock gives the tags. Delete the row after restoring a backup: the service then begins
-- a new epoch, and every device asks for all of its passes once.
CREATE TABLE wallet_clock (
    id       BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    epoch    TEXT   NOT NULL,
    last_tag BIGINT NOT NULL
);

CREATE TABLE wallet_passes (
    pass_type       TEXT   NOT NULL,
    serial          TEXT   NOT NULL,
    template        TEXT   NOT NULL,
    -- JSON object: values of the template's placeholders.
    fields          TEXT   NOT NULL,
    user_info       TEXT,
    -- The token itself is not kept. nonce: it can be derived from the master key (NULL: it cannot).
    token_algorithm TEXT   NOT NULL,
    token_hash      TEXT   NOT NULL,
    token_nonce     TEXT,
    -- What the content depends on besides the fields: template, issuer, address.
    basis           TEXT   NOT NULL,
    -- Hash of the manifest: equal means that nothing changed.
    fingerprint     TEXT   NOT NULL,
    -- Seconds since 1970: HTTP dates know no more. Strictly increasing per pass.
    last_modified   BIGINT NOT NULL,
    revision        BIGINT NOT NULL,
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL,
    PRIMARY KEY (pass_type, serial)
);
CREATE INDEX wallet_passes_basis ON wallet_passes (template, basis);

-- Changes that are committed and have no tag yet (an outbox). The sequencer empties it.
CREATE TABLE wallet_changes (
    id         TEXT   NOT NULL PRIMARY KEY,
    pass_type  TEXT   NOT NULL,
    serial     TEXT   NOT NULL,
    changed_at BIGINT NOT NULL,
    -- Set only inside the transaction that gives the tag.
    batch      BIGINT
);

-- The tag of each pass's latest listed change. Only the sequencer writes it; a pass without a row was never changed.
CREATE TABLE wallet_tags (
    pass_type TEXT   NOT NULL,
    serial    TEXT   NOT NULL,
    tag       BIGINT NOT NULL,
    PRIMARY KEY (pass_type, serial)
);

CREATE TABLE wallet_devices (
    device       TEXT   NOT NULL PRIMARY KEY,
    -- The token rotates: it belongs to the device, not to a registration.
    push_token   TEXT   NOT NULL,
    token_at     BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    last_list_at BIGINT
);

CREATE TABLE wallet_registrations (
    device        TEXT   NOT NULL REFERENCES wallet_devices (device),
    pass_type     TEXT   NOT NULL,
    serial        TEXT   NOT NULL,
    registered_at BIGINT NOT NULL,
    PRIMARY KEY (device, pass_type, serial),
    FOREIGN KEY (pass_type, serial) REFERENCES wallet_passes (pass_type, serial)
);
CREATE INDEX wallet_registrations_pass ON wallet_registrations (pass_type, serial);

-- One row for each device and pass type: pushes are coalesced.
CREATE TABLE wallet_pushes (
    device     TEXT   NOT NULL,
    pass_type  TEXT   NOT NULL,
    -- The latest tag that the device should hear of, and the latest that it was pushed for.
    tag        BIGINT NOT NULL,
    sent_tag   BIGINT NOT NULL,
    -- When it may be sent; while it is being sent, when somebody else may try. NULL: nothing to send.
    due_at     BIGINT,
    attempts   BIGINT NOT NULL,
    pushed_at  BIGINT,
    last_error TEXT,
    PRIMARY KEY (device, pass_type)
);
CREATE INDEX wallet_pushes_due ON wallet_pushes (due_at) WHERE due_at IS NOT NULL;

-- What devices reported to /v1/log, redacted, one row for each pattern.
CREATE TABLE wallet_diagnoses (
    id       TEXT   NOT NULL PRIMARY KEY,
    cause    TEXT   NOT NULL,
    pattern  TEXT   NOT NULL,
    count    BIGINT NOT NULL,
    first_at BIGINT NOT NULL,
    last_at  BIGINT NOT NULL
);
