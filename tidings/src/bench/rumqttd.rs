//! How rumqttd is found and started. It is no dependency of ours: whoever wants it in the comparison installs it.

use std::path::{Path, PathBuf};

use super::peer::Place;

/// How to get it.
pub(super) const INSTALL: &str = "cargo install rumqttd (then it is on PATH), or name it with --rumqttd PATH";

/// Where it is: as named, or on PATH.
pub(super) fn find(named: Option<&Path>) -> Option<PathBuf> {
    super::broker::program("rumqttd", named, &[])
}

/// Its configuration: room for all clients, no limit that this load would reach.
pub(super) fn config(place: &Place<'_>) -> String {
    let server = |name: &str, address: std::net::SocketAddr| {
        format!(
            "[v4.{name}]\nname = \"{name}\"\nlisten = \"{address}\"\nnext_connection_delay_ms = 0\n\
             [v4.{name}.connections]\nconnection_timeout_ms = 60000\nmax_payload_size = 262144\n\
             max_inflight_count = 1000\ndynamic_filters = true\n"
        )
    };
    let (certificate, key) = (place.issued.certificate.display(), place.issued.key.display());
    format!(
        "id = 0\n\
         [router]\nid = 0\nmax_connections = 30000\nmax_outgoing_packet_count = 1000\n\
         max_segment_size = 104857600\nmax_segment_count = 10\n\
         {}{}[v4.tls.tls]\ncertpath = \"{certificate}\"\nkeypath = \"{key}\"\n",
        server("plain", place.plain),
        server("tls", place.tls),
    )
}
