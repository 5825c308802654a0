//! The MQTT 5 user properties that the broker stamps on messages. It removes these names from whatever a
//! device sends, so a receiver may trust them.

/// The user id (token claim `sub`) of the device that published; absent on messages of handlers.
pub const USER: &str = "user";
/// The MQTT client id of the device that published; absent on messages of handlers.
pub const CLIENT: &str = "client";
/// The [`MessageId`](crate::message_id::MessageId), the same on every redelivery.
pub const MESSAGE_ID: &str = "message-id";
/// When the broker received the message, in milliseconds since 1970 (UTC), decimal.
pub const TIME: &str = "time";
/// The [`Cursor`](crate::cursor::Cursor) of a stored message.
pub const CURSOR: &str = "cursor";

/// Every name that only the broker may set.
pub const STAMPED: [&str; 5] = [USER, CLIENT, MESSAGE_ID, TIME, CURSOR];
