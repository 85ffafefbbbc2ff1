//! HTTP APIs, authentication, authorisation, status page.
//!
//! The wall is trust: the outside calls in here. What the server needs of the rest of the program it asks through the
//! traits of [`seam`]; it never sees a raw signal after it was admitted, and admits through `model::Admit` alone.

pub mod config;
pub mod openapi;
pub mod path;
pub mod seam;
pub mod token;

pub use config::Config;
pub use seam::Declined;
