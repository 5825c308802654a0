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

/// `true` or `false`: on CONNACK, whether nothing is missing since the cursor that the client brought; `false` on a
/// message, when retention has dropped something before it.
pub const RECOVERED: &str = "recovered";

/// Every name that only the broker may set.
pub const STAMPED: [&str; 6] = [USER, CLIENT, MESSAGE_ID, TIME, CURSOR, RECOVERED];
