//! What to do next with an upload to a bucket.
//!
//! [`next_upload_step`] is to files that go to somebody else's storage what [`crate::next_action`] is to items of a
//! backup: it looks at everything the journal knows of one upload and names one step. An object that fits into one part is
//! put in one request; a longer one is opened, its parts are sent, and it is made of them. What is there in the end is
//! proved before it counts.

use crate::{Action, ObjectState, PartNumber, PartPlan, PartState, State, Timestamp, Waits, state::names};

/// What a worker knows of an upload.
#[derive(Debug, Clone)]
pub struct UploadView {
    /// The item's state.
    pub state: State,
    /// What will exist in the bucket, once the source was read.
    pub object: Option<BucketObjectView>,
}

/// What a worker knows of an upload's object.
#[derive(Debug, Clone)]
pub struct BucketObjectView {
    /// Where it stands.
    pub state: ObjectState,
    /// Its cut.
    pub plan: PartPlan,
    /// State of each part, in order; as many as the plan has.
    pub parts: Vec<PartState>,
}

/// One step of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UploadStep {
    /// Read the source, cut it, take the checksums of its parts.
    Prepare,
    /// Put the object in one request.
    Put,
    /// Open a remote upload.
    Open,
    /// Send these parts.
    Send(Vec<PartNumber>),
    /// Ask the bucket what it holds: the object, or parts of it.
    Ask,
    /// Make the object of its parts.
    Complete,
    /// Write that it is done.
    Finish,
}

/// What vouches for the bytes of a part on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Proof {
    /// A checksum in a header: the bucket compares it, and keeps it with the object.
    Checksum(crate::Algorithm),
    /// The SHA-256 of the body is part of the signature: the bucket compares it, and forgets it.
    SignedPayload,
}

impl Proof {
    /// The name in the journal.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Checksum(algorithm) => algorithm.as_str(),
            Self::SignedPayload => "signed-payload",
        }
    }

    /// The proof of that name.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "signed-payload" {
            Some(Self::SignedPayload)
        } else {
            crate::Algorithm::parse(text).map(Self::Checksum)
        }
    }
}

/// What an upload's bytes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UploadKind {
    /// One file.
    File,
    /// A folder, packed as it is sent.
    Bundle,
}

names!(UploadKind { File = "file", Bundle = "bundle" });

/// Names the next step of an upload. `most` is how many parts a step may name.
///
/// Parts in state [`PartState::Sent`] count as *unknown*, and so does an object that was being opened, put or completed:
/// the bucket is asked before anything is sent again.
pub fn next_upload_step(view: &UploadView, most: usize, now: Timestamp) -> Action<UploadStep> {
    let State::Active { waits, .. } = view.state else { return Action::Rest };
    match waits {
        Waits::Until(moment) if now < moment => return Action::WaitUntil(moment),
        Waits::Item(_) | Waits::Transfer => return Action::WaitFor(waits),
        Waits::Nothing | Waits::Until(_) | Waits::Unlock | Waits::Token => {}
    }
    Action::Start(view.object.as_ref().map_or(UploadStep::Prepare, |object| object_step(object, most)))
}

fn object_step(object: &BucketObjectView, most: usize) -> UploadStep {
    match object.state {
        ObjectState::Stored => UploadStep::Finish,
        ObjectState::Opening | ObjectState::Completing => UploadStep::Ask,
        _ if object.parts.contains(&PartState::Sent) => UploadStep::Ask,
        ObjectState::Absent if object.plan.is_single() => UploadStep::Put,
        ObjectState::Absent => UploadStep::Open,
        ObjectState::Open => {
            let missing = (1u32..).zip(&object.parts).filter(|(_, state)| **state == PartState::Planned);
            let numbers: Vec<_> = missing.map(|(number, _)| PartNumber(number)).take(most.max(1)).collect();
            if numbers.is_empty() { UploadStep::Complete } else { UploadStep::Send(numbers) }
        }
        // The journal never shows a present object in these states; asking finds out.
        ObjectState::Abandoning | ObjectState::Abandoned => UploadStep::Ask,
    }
}

/// How many parts of one object may be under way: more while all goes well, half as many when the bucket asks for less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    most: usize,
    now: usize,
    /// Parts that arrived since it was changed.
    arrived: usize,
}

impl Window {
    /// A window that never opens wider than `most`.
    pub fn new(most: usize) -> Self {
        let most = most.max(1);
        Self { most, now: most, arrived: 0 }
    }

    /// How many may be under way.
    pub fn size(&self) -> usize {
        self.now
    }

    /// A part arrived. After as many as fit into it, the window opens by one.
    pub fn on_success(&mut self) {
        self.arrived += 1;
        if self.arrived >= self.now && self.now < self.most {
            self.now += 1;
            self.arrived = 0;
        }
    }

    /// The bucket asked to slow down.
    pub fn on_throttle(&mut self) {
        self.now = (self.now / 2).max(1);
        self.arrived = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PartLimits, Phase};
    use proptest::prelude::*;

    fn view(parts: usize) -> UploadView {
        let part = 5 << 20;
        let limits = PartLimits { part_min: part, ..PartLimits::S3 };
        let plan = PartPlan::equal(parts as u64 * part, part, &limits).unwrap();
        let object = BucketObjectView { state: ObjectState::Absent, plan, parts: vec![PartState::Planned; parts] };
        let state = State::Active { phase: Phase::Upload, waits: Waits::Nothing };
        UploadView { state, object: Some(object) }
    }

    fn next(view: &UploadView) -> UploadStep {
        match next_upload_step(view, 2, Timestamp(0)) {
            Action::Start(step) => step,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_fits_into_one_part_is_put_and_what_does_not_is_opened() {
        assert_eq!(next(&view(1)), UploadStep::Put);
        assert_eq!(next(&view(2)), UploadStep::Open);
        let unread = UploadView { object: None, ..view(1) };
        assert_eq!(next(&unread), UploadStep::Prepare);
    }

    #[test]
    fn what_has_no_answer_is_asked_about_before_anything_is_sent() {
        for state in [ObjectState::Opening, ObjectState::Completing] {
            let mut view = view(3);
            view.object.as_mut().unwrap().state = state;
            assert_eq!(next(&view), UploadStep::Ask);
        }
        for state in [ObjectState::Absent, ObjectState::Open] {
            let mut view = view(3);
            let object = view.object.as_mut().unwrap();
            (object.state, object.parts[1]) = (state, PartState::Sent);
            assert_eq!(next(&view), UploadStep::Ask);
        }
    }

    #[test]
    fn a_window_closes_by_half_and_opens_one_by_one() {
        let mut window = Window::new(4);
        window.on_throttle();
        assert_eq!(window.size(), 2);
        window.on_throttle();
        window.on_throttle();
        assert_eq!(window.size(), 1);
        let sizes: Vec<usize> = std::iter::repeat_with(|| {
            window.on_success();
            window.size()
        })
        .take(8)
        .collect();
        assert_eq!(sizes, [2, 2, 3, 3, 3, 4, 4, 4]);
    }

    /// A bucket that does what it is told, and whose answers are lost as a random program says.
    fn settle(parts: usize, program: Vec<bool>) -> usize {
        let mut view = view(parts);
        let mut program = program.into_iter();
        // What the bucket holds: parts of an open upload, and the object.
        let (mut held, mut is_open, mut is_there) = (vec![false; parts], false, false);
        for steps in 1.. {
            assert!(steps < 1000, "an upload must settle: {view:?}");
            // A lost answer may mean that it happened, or that it did not.
            let (lost, happens) = (program.next().unwrap_or(false), steps % 2 == 0);
            let step = next(&view);
            let object = view.object.as_mut().unwrap();
            match step {
                UploadStep::Open => {
                    object.state = if lost { ObjectState::Opening } else { ObjectState::Open };
                    (is_open, held) = (!lost, vec![false; parts]);
                }
                UploadStep::Put => {
                    is_there = !lost || happens;
                    object.parts[0] = PartState::Sent;
                    if !lost {
                        object.state = ObjectState::Completing;
                    }
                }
                UploadStep::Send(numbers) => {
                    for number in numbers {
                        let at = number.0 as usize - 1;
                        held[at] = !lost || happens;
                        object.parts[at] = if lost { PartState::Sent } else { PartState::Stored };
                    }
                }
                UploadStep::Complete => {
                    assert!(held.iter().all(|held| *held), "completed without all parts");
                    (is_there, object.state) = (!lost || happens, ObjectState::Completing);
                    is_open = !is_there;
                }
                UploadStep::Ask => {
                    let known = if is_open { held.clone() } else { vec![false; parts] };
                    object.state = match (is_there, is_open) {
                        (true, _) => ObjectState::Stored,
                        (false, true) => ObjectState::Open,
                        (false, false) => ObjectState::Absent,
                    };
                    for (part, held) in object.parts.iter_mut().zip(known) {
                        *part = if held || is_there { PartState::Stored } else { PartState::Planned };
                    }
                }
                UploadStep::Finish => {
                    assert!(is_there, "done without an object");
                    return steps;
                }
                UploadStep::Prepare => unreachable!("it is prepared"),
            }
        }
        unreachable!("the loop ends by itself")
    }

    proptest! {
        #[test]
        fn every_upload_settles_whatever_answers_are_lost(
            parts in 1usize..9, program in proptest::collection::vec(any::<bool>(), 0..60),
        ) {
            settle(parts, program);
        }
    }
}
