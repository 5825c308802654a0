//! What the routes of segments, templates, receipts and webhooks need besides the database.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::gorush::GorushSettings;
use crate::events::EventLog;
use crate::templates;
use crate::webhooks::deliver::Courier;

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Rooms {
    pub(crate) events: EventLog,
    pub(crate) templates: templates::Cache,
    pub(crate) courier: Courier,
    /// Told when a notification to a segment is stored.
    pub(crate) expand: Arc<Notify>,
    /// Streams end when the service stops.
    pub(crate) shutdown: tidings_shared::lifecycle::Shutdown,
    /// How often a silent stream says that it lives.
    pub(crate) heartbeat: Duration,
    pub(crate) gorush: GorushSettings,
}
