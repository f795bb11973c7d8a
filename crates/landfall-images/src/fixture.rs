//! Makers of small valid media.
