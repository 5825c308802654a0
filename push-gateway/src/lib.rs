//! tidings-push-gateway
