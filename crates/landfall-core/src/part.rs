//! How an object is cut into parts.

use std::ops::RangeInclusive;

/// A part's number. Starts at 1, as on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartNumber(pub u32);

/// The cut: every part has the same length but the last, which has the rest. Fixed before the first byte is sent;
/// another cut is another upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartPlan {
    size: u64,
    part_size: u64,
}

/// One part of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartSpan {
    /// Which.
    pub number: PartNumber,
    /// Where it starts in the object.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u64,
}

/// Most parts a plan may have.
pub const PARTS_MAX: u32 = 10_000;
/// A plan aims below this many parts, as a reserve under [`PARTS_MAX`].
const PARTS_AIM: u64 = 9_000;

/// What a destination allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartLimits {
    /// Fewest bytes of a part that is not the last.
    pub part_min: u64,
    /// Most bytes of a part.
    pub part_max: u64,
    /// Most bytes of an object.
    pub object_max: u64,
}

impl PartLimits {
    /// Those of Amazon S3: parts of 5 MiB to 5 GiB, [`PARTS_MAX`] of them, objects up to 48.8 TiB.
    /// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>
    pub const S3: Self = Self { part_min: 5 << 20, part_max: 5 << 30, object_max: (5 << 30) * PARTS_MAX as u64 };
}

/// Why an object cannot be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanError {
    /// It is longer than the destination takes, in bytes.
    TooLarge {
        /// The most that it takes.
        object_max: u64,
    },
}

/// Parts are whole multiples of this, so that a plan is the same wherever it is made.
const PART_STEP: u64 = 1 << 20;

impl PartPlan {
    /// A plan for an object of `size` bytes in equal parts of about `wanted` bytes: never more than the aim below
    /// [`PARTS_MAX`], each a whole number of MiB within `limits`. What fits into one part is one part; an empty object
    /// has one, which is empty.
    ///
    /// # Errors
    /// [`PlanError::TooLarge`] if the destination takes no object of that length.
    pub fn equal(size: u64, wanted: u64, limits: &PartLimits) -> Result<Self, PlanError> {
        if size > limits.object_max {
            return Err(PlanError::TooLarge { object_max: limits.object_max });
        }
        let enough = wanted.max(size.div_ceil(PARTS_AIM)).max(limits.part_min);
        // Near the largest object the reserve is used up: a part that is as large as may be is always large enough.
        let part_size = enough.saturating_add(PART_STEP - 1) / PART_STEP * PART_STEP;
        let plan = Self { size, part_size: part_size.min(limits.part_max) };
        if plan.size.div_ceil(plan.part_size) > u64::from(PARTS_MAX) {
            return Err(PlanError::TooLarge { object_max: plan.part_size * u64::from(PARTS_MAX) });
        }
        Ok(plan)
    }

    /// A plan for a sealed object of `size` bytes whose chunks are `chunk` bytes of ciphertext each: whole chunks per
    /// part, at least `chunks_per_part`, more if the object would have too many parts. `None` for an empty object.
    pub fn aligned(size: u64, chunk: u64, chunks_per_part: u64) -> Option<Self> {
        if size == 0 || chunk == 0 || chunks_per_part == 0 {
            return None;
        }
        let chunks = size.div_ceil(chunk);
        let per_part = chunks_per_part.max(chunks.div_ceil(PARTS_AIM));
        Some(Self { size, part_size: chunk.checked_mul(per_part)? })
    }

    /// A plan as it was stored. `None` if it could not have been made.
    pub fn from_stored(size: u64, part_size: u64) -> Option<Self> {
        (part_size > 0 && size.div_ceil(part_size) <= u64::from(PARTS_MAX)).then_some(Self { size, part_size })
    }

    /// Length of the object.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Length of every part but the last.
    pub fn part_size(&self) -> u64 {
        self.part_size
    }

    /// How many parts there are, at least 1.
    pub fn count(&self) -> u32 {
        u32::try_from(self.size.div_ceil(self.part_size).max(1)).expect("a plan has at most PARTS_MAX parts")
    }

    /// The object travels in one request and is stored when that is answered.
    pub fn is_single(&self) -> bool {
        self.count() == 1
    }

    /// All numbers.
    pub fn numbers(&self) -> RangeInclusive<u32> {
        1..=self.count()
    }

    /// One part, if the plan has it.
    pub fn part(&self, number: PartNumber) -> Option<PartSpan> {
        if number.0 == 0 || number.0 > self.count() {
            return None;
        }
        let offset = u64::from(number.0 - 1) * self.part_size;
        Some(PartSpan { number, offset, length: self.part_size.min(self.size - offset) })
    }

    /// All parts, in order.
    pub fn parts(&self) -> impl Iterator<Item = PartSpan> + '_ {
        self.numbers().filter_map(|number| self.part(PartNumber(number)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parts_cover_the_object_without_gap_or_overlap(size in 1u64..=53_687_091_200_000, chunk in 1u64..=1 << 23, per in 1u64..64) {
            prop_assume!(size / chunk < 9_000 * 4096);
            let plan = PartPlan::aligned(size, chunk, per).unwrap();
            prop_assert!(plan.count() <= PARTS_MAX);
            prop_assert_eq!(plan.part_size() % chunk, 0);
            let mut at = 0;
            for part in plan.parts() {
                prop_assert_eq!(part.offset, at);
                prop_assert!(part.length > 0 && part.length <= plan.part_size());
                at += part.length;
            }
            prop_assert_eq!(at, size);
            prop_assert_eq!(PartPlan::from_stored(plan.size(), plan.part_size()), Some(plan));
        }
    }

    proptest! {
        #[test]
        fn an_object_of_any_length_is_cut_into_equal_parts_within_the_limits(
            size in prop_oneof![
                0u64..=PartLimits::S3.object_max,
                0u64..=64 << 20,
                (PartLimits::S3.object_max - (1 << 30))..=PartLimits::S3.object_max,
                (0u64..=60_000).prop_map(|parts| parts * (5 << 20)),
            ],
            wanted in prop_oneof![Just(10u64 << 20), 1u64..=6 << 30],
        ) {
            let limits = PartLimits::S3;
            let plan = PartPlan::equal(size, wanted, &limits).unwrap();
            prop_assert!(plan.count() >= 1 && plan.count() <= PARTS_MAX);
            prop_assert!(plan.part_size() >= limits.part_min && plan.part_size() <= limits.part_max);
            prop_assert_eq!(plan.part_size() % PART_STEP, 0);
            let mut at = 0;
            for part in plan.parts() {
                prop_assert_eq!(part.offset, at);
                prop_assert!(part.length == plan.part_size() || part.number.0 == plan.count());
                at += part.length;
            }
            prop_assert_eq!(at, size);
            prop_assert_eq!(PartPlan::from_stored(plan.size(), plan.part_size()), Some(plan));
        }
    }

    #[test]
    fn what_a_destination_does_not_take_is_not_cut() {
        let limits = PartLimits::S3;
        assert!(PartPlan::equal(limits.object_max, 1, &limits).is_ok());
        let error = PartPlan::equal(limits.object_max + 1, 1, &limits).unwrap_err();
        assert_eq!(error, PlanError::TooLarge { object_max: limits.object_max });
        assert_eq!(PartPlan::equal(0, 1, &limits).unwrap().part(PartNumber(1)).unwrap().length, 0);
    }

    #[test]
    fn a_part_outside_the_plan_does_not_exist() {
        let plan = PartPlan::aligned(100, 10, 3).unwrap();
        assert_eq!(plan.count(), 4);
        assert_eq!(plan.part(PartNumber(0)), None);
        assert_eq!(plan.part(PartNumber(5)), None);
        assert_eq!(plan.part(PartNumber(4)).unwrap().length, 10);
    }
}
