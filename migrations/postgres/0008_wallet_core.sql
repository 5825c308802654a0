-- Wallet: passes that their holder signs up with, and devices that are no iPhones.

-- 1: somebody has signed up with the pass; its package no longer asks for it.
ALTER TABLE wallet_passes ADD COLUMN personalized BIGINT NOT NULL DEFAULT 0;

-- Who registered: apple, or android (wallet apps whose push tokens are not Apple's: they are never pushed to).
ALTER TABLE wallet_devices ADD COLUMN client TEXT NOT NULL DEFAULT 'apple';

-- What people gave when they signed up, one row for each pass.
CREATE TABLE wallet_personalizations (
    id         TEXT   NOT NULL PRIMARY KEY,
    pass_type  TEXT   NOT NULL,
    serial     TEXT   NOT NULL,
    -- Hash of the token that was signed: the same device may ask again for the same signature.
    token_hash TEXT   NOT NULL,
    -- JSON object, as Wallet sent it.
    info       TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    -- Its place in the list, given to rows that are committed. NULL: not yet.
    position   BIGINT,
    UNIQUE (pass_type, serial)
);
CREATE UNIQUE INDEX wallet_personalizations_position ON wallet_personalizations (position);
CREATE INDEX wallet_personalizations_new ON wallet_personalizations (id) WHERE position IS NULL;

-- One row. Whoever holds its lock gives the places.
CREATE TABLE wallet_personalization_clock (
    id            BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    last_position BIGINT NOT NULL
);
INSERT INTO wallet_personalization_clock (id, last_position) VALUES (1, 0);
