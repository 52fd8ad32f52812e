//! The Dockerfile language: from text to a syntax tree, with errors that point at the place.
//!
//! Pure: text in, values out. Invariant: every value knows its place in the text, and nothing is expanded or
//! resolved here that depends on a base image.
