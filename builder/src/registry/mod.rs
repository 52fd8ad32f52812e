//! Registries: names of images, credentials, and the distribution API for pulls and pushes.
//!
//! Invariant: credentials go only to the registry they were given for and to the realm that it names on its own
//! domain; never to a redirect's host, never over a worse transport, and never into an error text.

mod address;
mod agent;
mod auth;
mod challenge;
mod credentials;
mod download;
mod endpoint;
mod failure;
mod reference;
mod repository;
mod resolver;
mod session;
mod settings;
mod upload;

pub use address::decoded;
pub use credentials::{Credentials, Login};
pub use download::{Downloaded, download};
pub use endpoint::Endpoint;
pub use reference::Reference;
pub use repository::{Fetched, Repository};
pub use session::Access;
pub use settings::Settings;
pub use upload::Uploaded;
