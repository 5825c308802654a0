//! tidings-passbook-service
