//! Small functions that answer what devices publish: the framework in [`runtime`], then one file per handler.

pub mod runtime;
