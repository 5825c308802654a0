//! tidings-handlers
