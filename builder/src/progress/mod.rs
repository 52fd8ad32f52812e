//! What a person or a program sees of a pull, a build or a push while it goes on.
//!
//! Steps send events and never print; one thread draws them. Invariant: no byte of a step's output is ever
//! dropped or clipped, and a display that cannot write never stops the work.

mod event;
mod sender;

pub use event::{Event, StepId, Stream};
pub use sender::{Sender, Step};
