//! Tests of the task, through its handle.
