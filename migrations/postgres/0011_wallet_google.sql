-- Google Wallet: what Google was told about each pass, and what it has yet to be told.

-- A pass without a row was never offered to Google Wallet.
CREATE TABLE wallet_google_objects (
    pass_type     TEXT   NOT NULL,
    serial        TEXT   NOT NULL,
    -- loyalty, offer, eventTicket, flight, transit, generic: Google has a resource for each.
    kind          TEXT   NOT NULL,
    object_id     TEXT   NOT NULL,
    -- The object as Google has it (JSON); NULL: it was not told yet.
    sent          TEXT,
    -- The pass's revision that `sent` shows.
    sent_revision BIGINT NOT NULL,
    -- Counts what is to be told; `done` is the greatest count that was.
    wanted        BIGINT NOT NULL,
    done          BIGINT NOT NULL,
    -- When Google may be told; NULL: nothing to tell.
    due_at        BIGINT,
    -- Until when somebody is telling; 0: nobody.
    leased_until  BIGINT NOT NULL,
    attempts      BIGINT NOT NULL,
    -- The latest message that was handed over, so that it is never handed over twice.
    message_id    TEXT,
    -- JSON list of times (ms since 1970): notifications of the last 24 hours.
    notified      TEXT   NOT NULL,
    -- Why the last attempt failed; NULL after a success.
    last_error    TEXT,
    told_at       BIGINT,
    created_at    BIGINT NOT NULL,
    PRIMARY KEY (pass_type, serial)
);
CREATE INDEX wallet_google_objects_due ON wallet_google_objects (due_at) WHERE due_at IS NOT NULL;

-- Classes as Google has them.
CREATE TABLE wallet_google_classes (
    class_id TEXT   NOT NULL PRIMARY KEY,
    kind     TEXT   NOT NULL,
    -- SHA-256 of the class's JSON.
    digest   TEXT   NOT NULL,
    told_at  BIGINT NOT NULL
);

-- One row: the greatest tag whose changes were noted for Google. Whoever holds its lock reads on.
CREATE TABLE wallet_google_cursor (
    id  BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    tag BIGINT NOT NULL
);
CREATE INDEX wallet_tags_tag ON wallet_tags (tag);
