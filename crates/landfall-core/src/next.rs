//! What to do next with an item.
//!
//! [`next_action`] looks at everything the journal knows of one item and names one step, or says what to wait for. A
//! worker asks again after each step until the answer is no step. Because the answer depends on nothing else, a worker
//! that takes over from a dead one continues exactly where the journal stands.

use crate::{ItemId, PartNumber, PartPlan, Phase, State, Timestamp, Waits, state::names};

/// What an item's object is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The small picture. It goes before the file, so that a registered file always has one.
    Thumbnail,
    /// The content itself.
    File,
}

/// Where one remote object stands. A remote upload is deleted only when its row says `Abandoning`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectState {
    /// Planned; the remote has not heard of it.
    Absent,
    /// Opening was intended; the remote may or may not know it.
    Opening,
    /// The remote takes its parts.
    Open,
    /// Completing was intended; the remote may or may not have done it.
    Completing,
    /// The remote holds it whole, length and checksums compared.
    Stored,
    /// Nobody wants it any more; the remote may still hold something.
    Abandoning,
    /// The remote holds nothing of it.
    Abandoned,
}

/// Where one part stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PartState {
    /// Never handed to a carrier, or known not to have arrived.
    Planned,
    /// Handed to a carrier; no receipt yet.
    Sent,
    /// The remote gave a receipt.
    Stored,
}

names!(Role { Thumbnail = "thumbnail", File = "file" });
names!(ObjectState {
    Absent = "absent",
    Opening = "opening",
    Open = "open",
    Completing = "completing",
    Stored = "stored",
    Abandoning = "abandoning",
    Abandoned = "abandoned",
});
names!(PartState { Planned = "planned", Sent = "sent", Stored = "stored" });

/// What a worker knows of an item.
#[derive(Debug, Clone)]
pub struct ItemView {
    /// The item's state.
    pub state: State,
    /// Its present objects, in the order they are to be sent.
    pub objects: Vec<ObjectView>,
    /// How far publishing is.
    pub publish: PublishState,
}

/// What a worker knows of an object.
#[derive(Debug, Clone)]
pub struct ObjectView {
    /// Which object.
    pub role: Role,
    /// Where it stands.
    pub state: ObjectState,
    /// Its cut.
    pub plan: PartPlan,
    /// State of each part, in order; as many as the plan has.
    pub parts: Vec<PartState>,
}

/// How far publishing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishState {
    /// Objects are being stored; nothing to publish yet.
    Nothing,
    /// The content is in the vault already: only the place is to be added.
    Link,
    /// The register body is frozen: from now on exactly these bytes are sent, until there is an answer.
    Frozen,
    /// The remote has registered it.
    Published,
}

/// What holds for this worker right now.
#[derive(Debug, Clone, Copy)]
pub struct Conditions {
    /// Keys are at hand.
    pub unlocked: bool,
    /// A token is at hand that was not refused.
    pub token: bool,
    /// How many parts of one object may be under way at once.
    pub parts_in_flight_max: usize,
}

/// What to do: steps are those of an item of a backup, or another recipe's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action<S = Step> {
    /// Perform this step and ask again.
    Start(S),
    /// Nothing before this moment.
    WaitUntil(Timestamp),
    /// Nothing before this holds.
    WaitFor(Waits),
    /// Nothing, ever, unless someone changes the item.
    Rest,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Read the source, hash it, find duplicates, plan.
    Prepare,
    /// Open the remote upload. Harmless when done twice.
    Open(Role),
    /// Ask the remote what it holds of this object.
    Ask(Role),
    /// Send these parts, at once.
    Send(Role, Vec<PartNumber>),
    /// Make the object of its parts.
    Complete(Role),
    /// Build the register body and freeze it.
    Freeze,
    /// Send the frozen register body. Harmless when done twice.
    Register,
    /// Add this item's place to the record of the content.
    Link,
    /// Write that it is done and release what waits for it.
    Finish,
}

/// Names the next step of an item.
///
/// Called with what the journal holds at this moment, by the worker that holds the item's lease. Parts in state
/// [`PartState::Sent`] count as *unknown*: their carrier is gone, or it gave no answer; the remote is asked before
/// anything is sent again.
pub fn next_action(view: &ItemView, conditions: &Conditions, now: Timestamp) -> Action {
    let State::Active { phase, waits } = view.state else { return Action::Rest };
    match waits {
        Waits::Until(moment) if now < moment => return Action::WaitUntil(moment),
        Waits::Item(_) | Waits::Transfer => return Action::WaitFor(waits),
        Waits::Nothing | Waits::Until(_) | Waits::Unlock | Waits::Token => {}
    }
    if !conditions.unlocked {
        return Action::WaitFor(Waits::Unlock);
    }
    if !conditions.token && phase != Phase::Prepare {
        return Action::WaitFor(Waits::Token);
    }
    match phase {
        Phase::Prepare => Action::Start(Step::Prepare),
        Phase::Upload => {
            let unfinished = view.objects.iter().find(|object| object.state != ObjectState::Stored);
            Action::Start(unfinished.map_or(Step::Freeze, |object| object_step(object, conditions)))
        }
        Phase::Publish => Action::Start(match view.publish {
            PublishState::Nothing => Step::Freeze,
            PublishState::Frozen => Step::Register,
            PublishState::Link => Step::Link,
            PublishState::Published => Step::Finish,
        }),
    }
}

fn object_step(object: &ObjectView, conditions: &Conditions) -> Step {
    let role = object.role;
    match object.state {
        ObjectState::Absent | ObjectState::Opening => Step::Open(role),
        ObjectState::Completing => Step::Ask(role),
        ObjectState::Open if object.parts.contains(&PartState::Sent) => Step::Ask(role),
        ObjectState::Open => {
            let missing = (1u32..).zip(&object.parts).filter(|(_, state)| **state == PartState::Planned);
            let numbers: Vec<_> =
                missing.map(|(number, _)| PartNumber(number)).take(conditions.parts_in_flight_max.max(1)).collect();
            if numbers.is_empty() { Step::Complete(role) } else { Step::Send(role, numbers) }
        }
        // The journal never shows a present object in these states; opening again is harmless and finds out.
        ObjectState::Stored | ObjectState::Abandoning | ObjectState::Abandoned => Step::Open(role),
    }
}

/// Which item a twin should wait for, or whether it may go on: `owner` is the item that first claimed the content.
pub fn twin_waits_for(me: ItemId, owner: ItemId, owner_state: &State) -> Option<ItemId> {
    match owner_state {
        State::Active { .. } if owner != me => Some(owner),
        // A blocked, paused or final owner will not bring the content: whoever comes next takes over.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn object(role: Role, state: ObjectState, parts: Vec<PartState>) -> ObjectView {
        let plan = PartPlan::aligned(parts.len() as u64 * 10, 10, 1).unwrap();
        ObjectView { role, state, plan, parts }
    }

    fn uploading(objects: Vec<ObjectView>) -> ItemView {
        let state = State::Active { phase: Phase::Upload, waits: Waits::Nothing };
        ItemView { state, objects, publish: PublishState::Nothing }
    }

    const READY: Conditions = Conditions { unlocked: true, token: true, parts_in_flight_max: 2 };

    #[test]
    fn the_thumbnail_goes_before_the_file() {
        let view = uploading(vec![
            object(Role::Thumbnail, ObjectState::Absent, vec![PartState::Planned]),
            object(Role::File, ObjectState::Absent, vec![PartState::Planned]),
        ]);
        assert_eq!(next_action(&view, &READY, Timestamp(0)), Action::Start(Step::Open(Role::Thumbnail)));
    }

    #[test]
    fn a_part_without_an_answer_is_asked_about_before_anything_is_sent() {
        let parts = vec![PartState::Stored, PartState::Sent, PartState::Planned];
        let view = uploading(vec![object(Role::File, ObjectState::Open, parts)]);
        assert_eq!(next_action(&view, &READY, Timestamp(0)), Action::Start(Step::Ask(Role::File)));
    }

    #[test]
    fn a_locked_item_waits_and_a_blocked_one_rests() {
        let mut view = uploading(vec![]);
        let locked = Conditions { unlocked: false, ..READY };
        assert_eq!(next_action(&view, &locked, Timestamp(0)), Action::WaitFor(Waits::Unlock));
        let reason = crate::BlockReason { code: crate::Code::Refused, message: String::new() };
        view.state = State::Blocked { phase: Phase::Upload, reason };
        assert_eq!(next_action(&view, &READY, Timestamp(0)), Action::Rest);
    }

    /// A remote that does what it is told, loses answers as a random program says, and forgets parts never.
    fn settle(part_counts: Vec<usize>, program: Vec<bool>) -> usize {
        let mut remote: Vec<Vec<bool>> = part_counts.iter().map(|count| vec![false; *count]).collect();
        let mut stored = vec![false; part_counts.len()];
        let roles = [Role::Thumbnail, Role::File];
        let mut view = uploading(
            part_counts
                .iter()
                .zip(roles)
                .map(|(count, role)| object(role, ObjectState::Absent, vec![PartState::Planned; *count]))
                .collect(),
        );
        let mut program = program.into_iter();
        let mut steps = 0;
        loop {
            steps += 1;
            assert!(steps < 1000, "an item must settle: {view:?}");
            let lost = program.next().unwrap_or(false);
            let Action::Start(step) = next_action(&view, &READY, Timestamp(0)) else { panic!("{view:?}") };
            let index = |role| roles.iter().position(|candidate| *candidate == role).unwrap();
            match step {
                Step::Open(role) => {
                    let object = &mut view.objects[index(role)];
                    object.state = if lost { ObjectState::Opening } else { ObjectState::Open };
                }
                Step::Send(role, numbers) => {
                    for number in numbers {
                        let at = number.0 as usize - 1;
                        // A lost answer may mean that the part arrived, or that it did not.
                        remote[index(role)][at] = !lost || steps % 2 == 0;
                        view.objects[index(role)].parts[at] = if lost { PartState::Sent } else { PartState::Stored };
                    }
                }
                Step::Ask(role) => {
                    let at = index(role);
                    let object = &mut view.objects[at];
                    for (part, arrived) in object.parts.iter_mut().zip(&remote[at]) {
                        *part = if *arrived { PartState::Stored } else { PartState::Planned };
                    }
                    object.state = if stored[at] { ObjectState::Stored } else { ObjectState::Open };
                }
                Step::Complete(role) => {
                    let at = index(role);
                    assert!(remote[at].iter().all(|arrived| *arrived), "completed without all parts");
                    stored[at] = !lost || steps % 2 == 0;
                    view.objects[at].state = if lost { ObjectState::Completing } else { ObjectState::Stored };
                }
                Step::Freeze => {
                    assert!(stored.iter().all(|stored| *stored));
                    view.publish = PublishState::Frozen;
                    view.state = State::Active { phase: Phase::Publish, waits: Waits::Nothing };
                }
                Step::Register => view.publish = if lost { PublishState::Frozen } else { PublishState::Published },
                Step::Finish => return steps,
                Step::Prepare | Step::Link => unreachable!("neither is asked of an uploading item"),
            }
        }
    }

    proptest! {
        #[test]
        fn every_item_settles_whatever_answers_are_lost(
            thumbnail in 1usize..2, file in 1usize..9, program in proptest::collection::vec(any::<bool>(), 0..60),
        ) {
            settle(vec![thumbnail, file], program);
        }
    }
}
