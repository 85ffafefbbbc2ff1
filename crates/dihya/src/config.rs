//! Configuration: load → validate (pure, complete, all problems at once) → build.

pub(crate) mod reference;
pub(crate) mod render;
pub(crate) mod schema;
pub(crate) mod suggest;
pub(crate) mod validate;
pub(crate) mod yaml;
