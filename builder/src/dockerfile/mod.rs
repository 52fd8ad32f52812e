//! The Dockerfile language: from text to a syntax tree, with errors that point at the place.
//!
//! Pure: text in, values out. Invariant: every value knows its place in the text, and nothing is expanded or
//! resolved here that depends on a base image.

pub mod ast;
pub mod diagnose;
pub mod directive;
pub mod expand;
mod flags;
pub mod glob;
mod health;
pub mod heredoc;
pub mod ignore;
mod instruction;
pub mod lexer;
pub mod lint;
mod parse;
mod pattern;
pub mod rule;
pub mod source;

pub use parse::{KEYWORDS, parse, parse_trigger};
pub use source::{Place, Source};
