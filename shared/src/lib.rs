//! tidings-shared
