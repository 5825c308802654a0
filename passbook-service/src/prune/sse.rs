//! Server-sent events, read as they come (WHATWG HTML, 9.2).

/// An event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    /// `id`, when it has one.
    pub(super) id: Option<String>,
    /// `event`.
    pub(super) kind: String,
    /// `data`.
    pub(super) data: String,
}

/// Longest line; a longer one is cut off, so that nobody fills the memory.
const LONGEST: usize = 64 * 1024;

/// Puts events together from pieces.
#[derive(Default)]
pub(super) struct Reader {
    line: Vec<u8>,
    event: Event,
}

impl Reader {
    /// The events that a piece completes.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        for byte in bytes {
            match byte {
                b'\n' => {
                    let line = std::mem::take(&mut self.line);
                    let line = String::from_utf8_lossy(&line);
                    let line = line.strip_suffix('\r').unwrap_or(&line);
                    if line.is_empty() {
                        let event = std::mem::take(&mut self.event);
                        if event != Event::default() {
                            events.push(event);
                        }
                    } else {
                        self.field(line);
                    }
                }
                _ if self.line.len() < LONGEST => self.line.push(*byte),
                _ => {}
            }
        }
        events
    }

    fn field(&mut self, line: &str) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "id" => self.event.id = Some(value.to_owned()),
            "event" => value.clone_into(&mut self.event.kind),
            "data" => {
                if !self.event.data.is_empty() {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_however_they_are_cut() {
        let text =
            "event: push.dead\nid: 7\ndata: {\"a\":1}\n\n: heartbeat\n\nid:8\r\ndata: x\r\ndata: y\r\n\r\nevent: half";
        let expected = [
            Event { id: Some("7".to_owned()), kind: "push.dead".to_owned(), data: "{\"a\":1}".to_owned() },
            Event { id: Some("8".to_owned()), kind: String::new(), data: "x\ny".to_owned() },
        ];
        for size in 1..text.len() {
            let mut reader = Reader::default();
            let events: Vec<_> = text.as_bytes().chunks(size).flat_map(|piece| reader.feed(piece)).collect();
            assert_eq!(events, expected, "in pieces of {size}");
        }
        let mut reader = Reader::default();
        assert!(reader.feed(&vec![b'x'; 10 * LONGEST]).is_empty());
        assert!(reader.line.len() <= LONGEST);
    }
}
