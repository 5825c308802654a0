//! tidings-simulators
