//! Which requests of Kafka's protocol went through a connection and are not answered.

use std::collections::BTreeSet;

use super::Way;

/// The number of the request that carries records.
const PRODUCE: u16 = 0;

/// Both directions of one connection.
#[derive(Default)]
pub(super) struct Asked {
    frames: [Frames; 2],
    /// By the numbers that requests and answers share.
    waiting: BTreeSet<u32>,
    /// Nobody waits any more: the client has closed, or is dead.
    over: bool,
}

impl Asked {
    pub(super) fn is_answered(&self) -> bool {
        self.over || self.waiting.is_empty()
    }

    /// The client is gone.
    pub(super) fn end(&mut self) {
        self.over = true;
    }

    /// Takes in what went through.
    pub(super) fn note(&mut self, way: Way, bytes: &[u8]) {
        let waiting = &mut self.waiting;
        self.frames[way as usize].take(bytes, |head| match (way, head) {
            // Its kind, its version, its number.
            (Way::Up, [a, b, _, _, number @ ..]) if u16::from_be_bytes([*a, *b]) == PRODUCE => {
                waiting.insert(u32::from_be_bytes(*number));
            }
            (Way::Up, _) => {}
            (Way::Down, [a, b, c, d, ..]) => {
                waiting.remove(&u32::from_be_bytes([*a, *b, *c, *d]));
            }
        });
    }
}

/// A stream cut into its frames: a length of four bytes, and as many bytes.
#[derive(Default)]
struct Frames {
    /// The length and the eight bytes behind it, as far as they are there.
    head: Vec<u8>,
    /// What is left of the frame behind those.
    left: usize,
}

impl Frames {
    /// Calls `whole` with the first eight bytes of each frame that comes to its end here; what is
    /// shorter is filled up with zeros.
    fn take(&mut self, bytes: &[u8], mut whole: impl FnMut(&[u8; 8])) {
        let mut at = 0;
        while at < bytes.len() {
            let skipped = self.left.min(bytes.len() - at);
            self.left -= skipped;
            at += skipped;
            if skipped == 0 {
                self.head.push(bytes[at]);
                at += 1;
                let Some((length, behind)) = self.head.split_first_chunk() else { continue };
                let length = u32::from_be_bytes(*length) as usize;
                if behind.len() < length.min(8) {
                    continue;
                }
                self.left = length - behind.len();
            }
            if self.left == 0 {
                let mut first = [0; 8];
                let behind = &self.head[4..];
                first[..behind.len()].copy_from_slice(behind);
                self.head.clear();
                whole(&first);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(behind: &[u8]) -> Vec<u8> {
        [&(behind.len() as u32).to_be_bytes(), behind].concat()
    }

    /// However the stream is cut into pieces.
    #[test]
    fn a_request_waits_from_its_last_byte_to_that_of_its_answer() {
        for piece in 1..40 {
            let mut asked = Asked::default();
            let other = frame(&[0, 3, 0, 12, 0, 0, 0, 6, 1, 2]);
            let produce = frame(&[&[0, 0, 0, 9, 0, 0, 0, 7], &[5; 21][..]].concat());
            let up = [other, produce.clone()].concat();
            let (last, before) = up.split_last().unwrap();
            before.chunks(piece).for_each(|part| asked.note(Way::Up, part));
            assert!(asked.is_answered(), "pieces of {piece}");
            asked.note(Way::Up, &[*last]);
            assert!(!asked.is_answered(), "pieces of {piece}");
            let down = [frame(&[0, 0, 0, 6, 9]), frame(&[0, 0, 0, 7])].concat();
            let (last, before) = down.split_last().unwrap();
            before.chunks(piece).for_each(|part| asked.note(Way::Down, part));
            assert!(!asked.is_answered(), "pieces of {piece}");
            asked.note(Way::Down, &[*last]);
            assert!(asked.is_answered(), "pieces of {piece}");
        }
    }
}
