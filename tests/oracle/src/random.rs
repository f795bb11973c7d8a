//! Random values of which nasty ones are many.

/// A generator that gives the same for the same seed (SplitMix64).
pub struct Random(u64);

/// Pieces of keys, prefixes and markers that are encoded, normalised or misread somewhere.
const PIECES: &[&str] = &[
    "/",
    "//",
    "/./",
    "/../",
    "..",
    ".",
    " ",
    "  ",
    "+",
    "%",
    "%2F",
    "%41",
    "%%",
    "~",
    "*",
    "'",
    "(",
    ")",
    "!",
    "?",
    "#",
    "&",
    "=",
    ";",
    ":",
    "@",
    "$",
    ",",
    "<",
    ">",
    "\"",
    "\\",
    "|",
    "^",
    "`",
    "{",
    "}",
    "[",
    "]",
    "_",
    "-",
    "\t",
    "\n",
    "\r",
    "\u{1}",
    "\u{7f}",
    "ü",
    "é",
    "e\u{301}",
    "日本",
    "😀",
    "\u{200b}",
    "\u{feff}",
    "IMG_0001.HEIC",
    "photo",
    "a",
    "Z",
    "0",
    "AWS4",
    "x-id=",
    "é/ü",
];
const LINE: &[u8] =
    b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 !#$%&'()*+-./:;<=>?@[]^_`{|}~,\"\\";

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }

    pub fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }

    pub fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.number() as u8).collect()
    }

    /// Any text, of 1 to 1024 bytes.
    pub fn key(&mut self) -> String {
        let long = self.chance(50);
        let pieces = 1 + self.below(if long { 400 } else { 12 });
        let mut key = String::new();
        for _ in 0..pieces {
            let piece = self.one(PIECES);
            if key.len() + piece.len() > 1024 {
                break;
            }
            key.push_str(piece);
        }
        // The SDK takes a name of nothing but white space for none.
        if key.trim().is_empty() { key + "k" } else { key }
    }

    /// Visible ASCII and spaces, on one line; sometimes with spaces around, or several in a row.
    pub fn line(&mut self) -> String {
        let length = 1 + self.below(40);
        let mut line: String = (0..length).map(|_| char::from(self.one(LINE))).collect();
        if self.chance(4) {
            line.insert_str(line.len() / 2, "   ");
        }
        if self.chance(8) {
            line = format!("  {line} ");
        }
        line
    }

    /// Letters and digits.
    pub fn word(&mut self, length: usize) -> String {
        (0..length).map(|_| char::from(self.one(&LINE[..62]))).collect()
    }
}
