//! The promises of this room.
