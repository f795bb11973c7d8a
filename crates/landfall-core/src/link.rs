//! When to add a place to a content that is at many.

use std::time::Duration;

/// Contents at this many places are linked together with others that wait: all places of a content are one sealed text,
/// and to write it anew for each of ten thousand copies would cost the square of their number.
pub const GATHERED_FROM: usize = 64;

/// How long others are waited for.
const GATHERED_FOR: Duration = Duration::from_secs(2);

/// How long a new link to a content that is at `places` places waits for others to the same content, if it does.
pub fn link_waits(places: usize) -> Option<Duration> {
    (places >= GATHERED_FROM).then_some(GATHERED_FOR)
}
