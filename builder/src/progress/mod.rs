//! What a person or a program sees of a pull, a build or a push while it goes on.
//!
//! Steps send events and never print; one thread draws them. Invariant: no byte of a step's output is ever
//! dropped or clipped, and a display that cannot write never stops the work.

mod display;
mod event;
mod json;
mod plain;
mod sender;
mod spool;
mod text;
mod tty;

pub use display::{Display, Mode, start};
pub use event::{Event, StepId, Stream};
pub use sender::{Pause, Sender, Step};
