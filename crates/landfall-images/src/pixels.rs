use fast_image_resize::{
    FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer,
    images::{Image, ImageRef},
};

/// A picture in memory: three bytes a pixel, rows from the top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pixels {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) rgb: Vec<u8>,
}

impl Pixels {
    pub(crate) fn blank(width: u32, height: u32) -> Self {
        Self { width, height, rgb: vec![0; width as usize * height as usize * 3] }
    }

    /// The picture shrunk into a square box, its proportions kept. A smaller picture stays as it is.
    pub(crate) fn fit(self, edge: u32) -> Self {
        let (width, height) = fitted(self.width, self.height, edge);
        if (width, height) == (self.width, self.height) {
            return self;
        }
        let mut small = Image::new(width, height, PixelType::U8x3);
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3));
        let resized = ImageRef::new(self.width, self.height, &self.rgb, PixelType::U8x3)
            .is_ok_and(|full| Resizer::new().resize(&full, &mut small, &options).is_ok());
        debug_assert!(resized, "a picture with as many bytes as its sides say can be resized to at least 1 × 1");
        Self { width, height, rgb: small.into_vec() }
    }
}

/// The sides of a picture shrunk into a square box: at least one pixel each, never larger than they were.
pub(crate) fn fitted(width: u32, height: u32, edge: u32) -> (u32, u32) {
    let longest = width.max(height).max(1);
    let edge = edge.max(1);
    if longest <= edge {
        return (width, height);
    }
    let scaled = |side: u32| {
        let rounded = (u64::from(side) * u64::from(edge) + u64::from(longest) / 2) / u64::from(longest);
        (rounded as u32).max(1)
    };
    (scaled(width), scaled(height))
}

/// Shrinks a picture by a whole factor while its rows arrive, each pixel the mean of a square: only one row of sums and
/// the small picture are in memory.
pub(crate) struct RowShrinker {
    width: u32,
    factor: u32,
    sums: Vec<u32>,
    rows_in_sums: u32,
    small: Pixels,
    rows_done: u32,
}

impl RowShrinker {
    /// For a picture of this size that will be fitted into a box of `edge`: leaves it a little larger than that.
    pub(crate) fn new(width: u32, height: u32, edge: u32) -> Self {
        let factor = Self::factor(width, height, edge);
        let small = Pixels::blank(width.div_ceil(factor), height.div_ceil(factor));
        Self { width, factor, sums: vec![0; small.width as usize * 3], rows_in_sums: 0, small, rows_done: 0 }
    }

    /// How large it leaves a picture of this size.
    pub(crate) fn size(width: u32, height: u32, edge: u32) -> (u64, u64) {
        let factor = Self::factor(width, height, edge);
        (width.div_ceil(factor).into(), height.div_ceil(factor).into())
    }

    /// The bytes one of this size holds.
    pub(crate) fn memory(width: u32, height: u32, edge: u32) -> u64 {
        let factor = Self::factor(width, height, edge);
        u64::from(width.div_ceil(factor)) * (u64::from(height.div_ceil(factor)) * 3 + 12)
    }

    /// Takes the next row, three bytes a pixel. Rows beyond the height are ignored.
    pub(crate) fn push(&mut self, row: impl Iterator<Item = [u8; 3]>) {
        if self.rows_done == self.small.height {
            return;
        }
        let (mut column, mut in_column) = (0, 0);
        for pixel in row.take(self.width as usize) {
            for (sum, value) in self.sums[column..column + 3].iter_mut().zip(pixel) {
                *sum += u32::from(value);
            }
            in_column += 1;
            if in_column == self.factor {
                (column, in_column) = (column + 3, 0);
            }
        }
        self.rows_in_sums += 1;
        if self.rows_in_sums == self.factor {
            self.finish_row();
        }
    }

    /// The small picture; rows that never came are black.
    pub(crate) fn finish(mut self) -> Pixels {
        if self.rows_in_sums > 0 {
            self.finish_row();
        }
        self.small
    }

    fn finish_row(&mut self) {
        let small_width = self.small.width as usize;
        let row = &mut self.small.rgb[self.rows_done as usize * small_width * 3..][..small_width * 3];
        let last_columns = self.width - (self.small.width - 1) * self.factor;
        for (index, (pixel, sums)) in row.chunks_exact_mut(3).zip(self.sums.chunks_exact_mut(3)).enumerate() {
            let columns = if index + 1 == small_width { last_columns } else { self.factor };
            let count = columns * self.rows_in_sums;
            for (value, sum) in pixel.iter_mut().zip(sums) {
                *value = ((*sum + count / 2) / count) as u8;
                *sum = 0;
            }
        }
        self.rows_in_sums = 0;
        self.rows_done += 1;
    }

    /// At most 4,095, so that 255 × factor² fits the sums; a longer side than that times the edge is left too large.
    fn factor(width: u32, height: u32, edge: u32) -> u32 {
        (width.max(height) / (edge.max(1).saturating_mul(3) / 2).max(1)).clamp(1, 4095)
    }
}

/// What a translucent pixel looks like on white paper.
pub(crate) fn over_white(pixel: [u8; 3], alpha: u8) -> [u8; 3] {
    let alpha = u32::from(alpha);
    pixel.map(|value| ((u32::from(value) * alpha + 255 * (255 - alpha) + 127) / 255) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_side_becomes_the_edge() {
        assert_eq!(fitted(4000, 3000, 512), (512, 384));
        assert_eq!(fitted(3000, 4000, 512), (384, 512));
        assert_eq!(fitted(100, 50, 512), (100, 50));
        assert_eq!(fitted(1_000_000, 1, 512), (512, 1));
        assert_eq!(fitted(u32::MAX, u32::MAX, 512), (512, 512));
    }

    #[test]
    fn shrinking_by_rows_takes_the_mean_of_each_square() {
        let mut shrinker = RowShrinker::new(5, 3, 2);
        assert_eq!(shrinker.factor, 1);
        shrinker = RowShrinker { factor: 2, small: Pixels::blank(3, 2), sums: vec![0; 9], ..shrinker };
        for y in 0..3u8 {
            shrinker.push((0..5u8).map(|x| [x * 10, y * 10, 200]));
        }
        let small = shrinker.finish();
        assert_eq!(small.rgb[..9], [5, 5, 200, 25, 5, 200, 40, 5, 200]);
        assert_eq!(small.rgb[9..], [5, 20, 200, 25, 20, 200, 40, 20, 200]);
    }

    #[test]
    fn nothing_shows_white_and_everything_shows_itself() {
        assert_eq!(over_white([10, 20, 30], 0), [255, 255, 255]);
        assert_eq!(over_white([10, 20, 30], 255), [10, 20, 30]);
    }
}
