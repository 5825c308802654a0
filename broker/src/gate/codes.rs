//! Every code under which the gate refuses or ends a connection: in its logs, in the label `code` of the metrics
//! `tidings_broker_refused` and `tidings_broker_closed`, and (as reason code) to the client.
//!
//! Before the log-in (CONNACK of MQTT 5 / return code of 3.1.1; `–` closes without an answer):
//!
//! | code | 5 | 3.1.1 | what happened |
//! |---|---|---|---|
//! | `connect_deadline` | – | – | no verified CONNECT within `broker.limits.connect` |
//! | `unauthenticated_limit`, `unauthenticated_limit_per_address` | – | – | more than `broker.limits.handshakes`, `…_per_address` connections that have not logged in; when more than half of the places are taken, also who says nothing for two seconds |
//! | `connect_rate` | 0x9F | 3 | more than `broker.limits.connects_per_address` connections in a second; TLS is closed without an answer, HTTP gets 429 |
//! | `http_connections_limit` | – | – | more than `broker.limits.http_connections` HTTP connections |
//! | `proxy_header` | – | – | the PROXY protocol v2 header that `broker.proxy_protocol.trusted` demands is missing or cannot be used |
//! | `tls_handshake_limit` | – | – | `broker.limits.tls_handshakes` handshakes were under way until the deadline, or this one kept us waiting meanwhile |
//! | `tls_handshake` | – | – | the TLS handshake failed (a TLS alert says why) |
//! | `not_connect`, `not_mqtt` | – | – | the first packet is no CONNECT |
//! | `protocol_version` | 0x84 | 1 | an MQTT version that is not spoken here |
//! | `malformed_packet` | 0x81 | – | CONNECT cannot be parsed |
//! | `protocol_error` | 0x82 | – | CONNECT breaks a rule |
//! | `client_id` | 0x85 | 2 | an empty client id with clean session 0 |
//! | `topic_name` | 0x90 | – | the will topic is no topic name |
//! | `packet_too_large` | 0x95 | – | CONNECT is larger than `broker.limits.first_packet` |
//! | `authentication_method` | 0x8C | 5 | an authentication method other than `JWT` |
//! | `user_name` | 0x86 | 4 | the user name is neither `JWT` nor `handler` |
//! | `handler_key` | 0x86 | 4 | the handler key is wrong |
//! | `token_…` | 0x86 | 4 | the token was refused: [`tidings_shared::auth::TokenError::code`] |
//! | `token_revoked` | 0x87 | 5 | the token was revoked |
//! | `login_backoff` | 0x9F | 3 | too many failed log-ins with these credentials or from this address; the reason string says how long to wait; HTTP 429 |
//! | `token_keys_unavailable`, `token_issuer_unavailable` | 0x88 | 3 | the issuer's keys could not be fetched, or it could not be asked about the token; try again |
//! | `server_shutting_down` | 0x88, 0x9C | 3 | the broker is stopping (0x9C with `broker.stop.server_reference`); who says no CONNECT within a second is closed |
//! | `gone` | – | – | the client went away |
//!
//! After it (DISCONNECT of MQTT 5; 3.1.1 is closed without an answer):
//!
//! | code | 5 | what happened |
//! |---|---|---|
//! | `disconnect`, `disconnect_with_will` | – | the client said DISCONNECT |
//! | `gone` | – | the connection broke |
//! | `malformed_packet` | 0x81 | a packet cannot be parsed |
//! | `protocol_error` | 0x82 | a packet breaks a rule |
//! | `not_authorized` | 0x87 | a 3.1.1 client published where it may not (MQTT 5: in PUBACK and PUBREC) |
//! | `token_expired` | 0x87 | the token's `exp` has come, or the client certificate's end that a handler logged in with |
//! | `token_revoked` | 0x87 | the token was revoked |
//! | `token_…` | 0x87 | the fresh token of an AUTH was refused |
//! | `token_other_user` | 0x87 | the fresh token of an AUTH is another user's |
//! | `token_keys_unavailable`, `token_issuer_unavailable` | 0x89 | the fresh token of an AUTH could not be checked; try again |
//! | `authentication_method` | 0x8C | AUTH with another method than CONNECT |
//! | `administrative_action` | 0x98 | an administrator ended the connection |
//! | `server_shutting_down` | 0x8B, 0x9C | the broker is stopping (0x9C with `broker.stop.server_reference`) |
//! | `keep_alive_timeout` | 0x8D | nothing came for 1.5 times the keep-alive |
//! | `session_taken_over` | 0x8E | the same client connected again |
//! | `topic_name` | 0x90 | a topic name with a wildcard, or empty |
//! | `receive_maximum_exceeded` | 0x93 | more unacknowledged publishes than the receive maximum |
//! | `topic_alias` | 0x94 | topic alias 0 |
//! | `packet_too_large` | 0x95 | a packet is larger than `broker.limits.packet` |
//! | `message_rate` | 0x96 | more than `broker.limits.messages_per_…`, `bytes_per_…` without pause for `broker.limits.patience` |
//! | `quota_exceeded` | 0x97 | a limit of the broker |
//! | `write_deadline` | – | the client did not take what was sent within `broker.limits.write` |
//! | `ended_by_server` | any other | another reason of the engine |
//!
//! A fresh token published on `$tidings/token` and refused: PUBACK or PUBREC 0x87 with a reason string (0x83 when it could
//! not be checked), and the connection stays; MQTT 3.1.1 is closed (`not_authorized`).
