//! A stream of bytes cut into lines of a bounded length.
//!
//! Responsible for: what has come of a line. Must not know: what becomes of lines.

/// The lines of some bytes, with their ends; the last one may have none. What the standard library has for this looks at each
/// byte on its own, which was half of what logging an app's output cost.
pub fn pieces(mut data: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let end = memchr::memchr(b'\n', data).map_or(data.len(), |at| at.saturating_add(1));
        let (piece, rest) = data.split_at_checked(end)?;
        data = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Of one stream.
#[derive(Debug)]
pub struct LineCutter {
    partial: Vec<u8>,
    longest: usize,
}

impl LineCutter {
    /// Lines longer than this are cut into pieces, which count as lines.
    pub fn new(longest: usize) -> Self {
        Self { partial: Vec::new(), longest }
    }

    /// Takes the next bytes, and hands out every line that they end, without its end.
    pub fn push(&mut self, data: &[u8], mut line: impl FnMut(&[u8])) {
        for piece in pieces(data) {
            let (mut text, is_end) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            while let Some((fits, rest)) =
                text.split_at_checked(self.longest.saturating_sub(self.partial.len()))
            {
                if rest.is_empty() {
                    break;
                }
                self.partial.extend_from_slice(fits);
                line(&self.partial);
                self.partial.clear();
                text = rest;
            }
            if is_end && self.partial.is_empty() {
                line(text);
            } else {
                self.partial.extend_from_slice(text);
                if is_end {
                    line(&self.partial);
                    self.partial.clear();
                }
            }
        }
    }

    /// Nothing more comes: what is left counts as a line.
    pub fn finish(&mut self, mut line: impl FnMut(&[u8])) {
        if !self.partial.is_empty() {
            line(&self.partial);
            self.partial.clear();
        }
    }
}
