//! The body of an answer, and what becomes of it on the way.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use landfall_transport::Loss;

/// The body of an answer. It may break off or stop, if the script says so.
#[derive(Debug)]
pub struct AnswerBody {
    left: Bytes,
    /// Bytes of the whole body that are not handed out yet.
    promised: u64,
    end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    Cut { is_due: bool },
    Stall,
}

impl AnswerBody {
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self { promised: bytes.len() as u64, left: bytes, end: End::Whole }
    }

    /// Fails after so many bytes.
    pub(super) fn cut(bytes: Bytes, after: u64) -> Self {
        Self::ending(bytes, after, End::Cut { is_due: false })
    }

    /// Stops for ever after so many bytes.
    pub(super) fn stalling(bytes: Bytes, after: u64) -> Self {
        Self::ending(bytes, after, End::Stall)
    }

    /// A body that is no longer than that is whole: so it is on a socket, where its length was told before.
    fn ending(bytes: Bytes, after: u64, end: End) -> Self {
        match usize::try_from(after) {
            Ok(after) if after < bytes.len() => Self { promised: bytes.len() as u64, left: bytes.slice(..after), end },
            _ => Self::whole(bytes),
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Loss;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Loss>>> {
        if !self.left.is_empty() {
            let at = self.left.len().min(FRAME_BYTES);
            let frame = self.left.split_to(at);
            self.promised -= frame.len() as u64;
            return Poll::Ready(Some(Ok(Frame::data(frame))));
        }
        match self.end {
            End::Whole => Poll::Ready(None),
            End::Stall => Poll::Pending,
            End::Cut { is_due: true } => Poll::Ready(Some(Err(Loss::NoAnswer("the answer broke off".to_owned())))),
            End::Cut { is_due: false } => {
                // A socket gets what was handed out so far only if its server has to wait.
                self.end = End::Cut { is_due: true };
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.end == End::Whole && self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.promised)
    }
}

const FRAME_BYTES: usize = 64 << 10;
