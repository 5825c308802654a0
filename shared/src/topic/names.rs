//! Every topic that Tidings itself uses.

/// A device asks to become somebody's contact.
pub const REQUEST_CONTACT: &str = "request_contact";
/// A device accepts a contact request.
pub const ACCEPT_CONTACT: &str = "accept_contact";
/// A device asks for its user's contacts.
pub const GET_CONTACT_LIST: &str = "get_contact_list";
/// A device registers its push token.
pub const REGISTER_PUSH_TOKEN: &str = "register_push_token";
/// A device takes its push token back.
pub const UNREGISTER_PUSH_TOKEN: &str = "unregister_push_token";

/// The command topics of the built-in handlers. They are commands whoever is connected, even for a user whose id
/// happens to be `request`.
pub const COMMANDS: [&str; 5] =
    [REQUEST_CONTACT, ACCEPT_CONTACT, GET_CONTACT_LIST, REGISTER_PUSH_TOKEN, UNREGISTER_PUSH_TOKEN];

/// `USER_contact_requested`: somebody asks to become this user's contact.
pub const CONTACT_REQUESTED: &str = "contact_requested";
/// `USER_contact_approved`: the contact request that this user made was accepted.
pub const CONTACT_APPROVED: &str = "contact_approved";
/// `USER_contact_list`: the answer to [`GET_CONTACT_LIST`].
pub const CONTACT_LIST: &str = "contact_list";
/// `USER_contact_error`: what this user asked for about contacts could not be done, and why.
pub const CONTACT_ERROR: &str = "contact_error";

/// `USER_push_token_error`: the push token could not be registered or taken back, and why.
pub const PUSH_TOKEN_ERROR: &str = "push_token_error";

/// [`UserUnacked`](crate::events::UserUnacked) events of the broker.
pub const EVENT_UNACKED: &str = "$tidings/events/unacked";
/// [`DeviceReturned`](crate::events::DeviceReturned) events of the broker.
pub const EVENT_RETURNED: &str = "$tidings/events/returned";
/// [`PresenceChanged`](crate::events::PresenceChanged) events of the broker: live only, at QoS 0.
pub const EVENT_PRESENCE: &str = "$tidings/events/presence";
/// Where a connected device publishes a fresh token.
pub const TOKEN: &str = "$tidings/token";
