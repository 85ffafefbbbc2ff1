//! Receivers of events: hostile bytes in, `Signal`s to privacy and the ledger, an answer in the protocol's own shape out.
//!
//! The wall is trust: whatever a sender writes is parsed here, within bounds, and nowhere else. Nothing is acknowledged
//! before [`model::Admit`] says that it is durable; what cannot be taken now is refused with the protocol's word for
//! "come back", never kept in memory.
//!
//! # Use
//!
//! [`Receiver::room`] before a body is read, [`Receiver::bulk`], [`Receiver::events`] or another with it. They answer with a
//! status and a body for the sender. [`elastic`] answers what agents ask before they send. [`Receiver::syslog`] takes messages
//! of senders that get no answer, and says from where on they are to be given again. [`files::follow`] fetches lines itself,
//! [`journal::follow::follow`] entries of journals.

mod admission;
mod bulk;
pub mod cloudevents;
mod decode;
mod document;
pub mod elastic;
mod events;
pub mod fhir;
pub mod files;
pub mod journal;
mod loki;
pub mod otlp;
mod receiver;
pub mod sources;
pub mod syslog;

pub use decode::{Encoding, Undecoded};
pub use receiver::{Answer, Call, Full, Receiver, Room, Taken};
