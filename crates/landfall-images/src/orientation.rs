use crate::pixels::Pixels;

/// How a stored picture must be turned to be upright: the eight values of EXIF.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Orientation {
    /// 1: stored upright.
    #[default]
    Upright = 1,
    /// 2: mirrored left to right.
    Mirrored = 2,
    /// 3: turned by half.
    Half = 3,
    /// 4: mirrored top to bottom.
    Flipped = 4,
    /// 5: mirrored along the falling diagonal.
    Transposed = 5,
    /// 6: needs a quarter turn clockwise.
    QuarterClockwise = 6,
    /// 7: mirrored along the rising diagonal.
    Transversed = 7,
    /// 8: needs a quarter turn counterclockwise.
    QuarterCounterclockwise = 8,
}

impl Orientation {
    /// All eight, in the order of their EXIF values.
    pub const ALL: [Self; 8] = [
        Self::Upright,
        Self::Mirrored,
        Self::Half,
        Self::Flipped,
        Self::Transposed,
        Self::QuarterClockwise,
        Self::Transversed,
        Self::QuarterCounterclockwise,
    ];

    /// The orientation of an EXIF value; `None` unless it is 1 to 8.
    pub fn from_exif(value: u16) -> Option<Self> {
        Self::ALL.get(usize::from(value).checked_sub(1)?).copied()
    }

    /// The EXIF value, 1 to 8.
    pub fn exif_value(self) -> u16 {
        self as u16
    }

    /// Whether width and height change places when the picture is turned upright.
    pub fn swaps_sides(self) -> bool {
        self.exif_value() >= 5
    }

    /// The orientation that first turns by `self`, then by `next`.
    pub(crate) fn then(self, next: Self) -> Self {
        let matrix = product(next.matrix(), self.matrix());
        Self::ALL.into_iter().find(|each| each.matrix() == matrix).unwrap_or_default()
    }

    /// The orientation whose turning acts as this matrix on (x to the right, y down).
    pub(crate) fn from_matrix(matrix: [i8; 4]) -> Option<Self> {
        Self::ALL.into_iter().find(|each| each.matrix() == matrix)
    }

    /// Where a stored pixel goes: (x, y) becomes (a·x + b·y, c·x + d·y), apart from a shift.
    fn matrix(self) -> [i8; 4] {
        match self {
            Self::Upright => [1, 0, 0, 1],
            Self::Mirrored => [-1, 0, 0, 1],
            Self::Half => [-1, 0, 0, -1],
            Self::Flipped => [1, 0, 0, -1],
            Self::Transposed => [0, 1, 1, 0],
            Self::QuarterClockwise => [0, -1, 1, 0],
            Self::Transversed => [0, -1, -1, 0],
            Self::QuarterCounterclockwise => [0, 1, -1, 0],
        }
    }

    /// Turns the picture upright.
    pub(crate) fn apply(self, pixels: Pixels) -> Pixels {
        if self == Self::Upright {
            return pixels;
        }
        let (width, height) = (pixels.width as usize, pixels.height as usize);
        let (new_width, new_height) = if self.swaps_sides() { (height, width) } else { (width, height) };
        let mut turned = Pixels::blank(new_width as u32, new_height as u32);
        for (y, row) in pixels.rgb.chunks_exact(width * 3).enumerate() {
            for (x, pixel) in row.chunks_exact(3).enumerate() {
                let (to_x, to_y) = match self {
                    Self::Upright => (x, y),
                    Self::Mirrored => (width - 1 - x, y),
                    Self::Half => (width - 1 - x, height - 1 - y),
                    Self::Flipped => (x, height - 1 - y),
                    Self::Transposed => (y, x),
                    Self::QuarterClockwise => (height - 1 - y, x),
                    Self::Transversed => (height - 1 - y, width - 1 - x),
                    Self::QuarterCounterclockwise => (y, width - 1 - x),
                };
                let at = (to_y * new_width + to_x) * 3;
                turned.rgb[at..at + 3].copy_from_slice(pixel);
            }
        }
        turned
    }
}

fn product(a: [i8; 4], b: [i8; 4]) -> [i8; 4] {
    [a[0] * b[0] + a[1] * b[2], a[0] * b[1] + a[1] * b[3], a[2] * b[0] + a[3] * b[2], a[2] * b[1] + a[3] * b[3]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turning_twice_composes() {
        use Orientation::*;
        assert_eq!(QuarterClockwise.then(QuarterClockwise), Half);
        assert_eq!(QuarterClockwise.then(QuarterCounterclockwise), Upright);
        assert_eq!(Mirrored.then(Flipped), Half);
        assert_eq!(Mirrored.then(QuarterClockwise), Transversed);
    }

    #[test]
    fn the_matrix_says_where_apply_puts_the_pixels() {
        // The first pixel is 1, the one right of it 2, the one below 3.
        let pixels = Pixels { width: 2, height: 2, rgb: [1, 2, 3, 4].into_iter().flat_map(|n| [n; 3]).collect() };
        for orientation in Orientation::ALL {
            let turned = orientation.apply(pixels.clone());
            let position = |n: u8| {
                let at = turned.rgb.iter().position(|&byte| byte == n).unwrap() as i8 / 3;
                (at % 2, at / 2)
            };
            let (first, right, below) = (position(1), position(2), position(3));
            let matrix = [right.0 - first.0, below.0 - first.0, right.1 - first.1, below.1 - first.1];
            assert_eq!(matrix, orientation.matrix(), "{orientation:?}");
        }
    }

    #[test]
    fn values_outside_exif_are_refused() {
        assert_eq!(Orientation::from_exif(0), None);
        assert_eq!(Orientation::from_exif(9), None);
        for value in 1..=8 {
            assert_eq!(Orientation::from_exif(value).unwrap().exif_value(), value);
        }
    }
}
