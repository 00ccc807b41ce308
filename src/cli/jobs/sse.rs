//! Parses server-sent events, as the HTML standard defines them ("9.2.6 Interpreting an event stream").
//!
//! Our own, because none of our dependencies reads them.

use memchr::memchr2;

/// Longest line, and longest data of an event, in bytes. Meshgate's events are far shorter.
const MAX_LENGTH: usize = 8 << 20;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// An event with data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub name: String,
    pub data: String,
}

/// A line or the data of an event is longer than 8 MiB.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLong;

/// Parses a stream from pieces of any size.
#[derive(Debug, Default)]
pub struct Parser {
    /// The line so far.
    line: Vec<u8>,
    /// Whether the last byte was a carriage return, so that a line feed belongs to it.
    after_return: bool,
    /// Whether the first line was read.
    begun: bool,
    /// The fields of the event so far.
    name: String,
    data: Vec<String>,
    data_length: usize,
    id: Option<String>,
    /// The ID of the last event that was complete.
    last_id: Option<String>,
}

impl Parser {
    /// Takes the next bytes of the stream; returns the events that they complete.
    ///
    /// # Errors
    /// [`TooLong`]
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<Vec<Event>, TooLong> {
        let mut events = Vec::new();
        if std::mem::take(&mut self.after_return) {
            // An empty piece decides nothing.
            self.after_return = bytes.is_empty();
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        while let Some(at) = memchr2(b'\r', b'\n', bytes) {
            let (line, rest) = bytes.split_at(at);
            self.extend_line(line)?;
            events.extend(self.end_line()?);
            bytes = match rest {
                [b'\r'] => {
                    self.after_return = true;
                    &[]
                }
                [b'\r', b'\n', rest @ ..] | [_, rest @ ..] => rest,
                [] => &[],
            };
        }
        self.extend_line(bytes)?;
        Ok(events)
    }

    /// The value for `Last-Event-ID`, if the stream had an ID.
    pub fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    fn extend_line(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        if self.line.len() + bytes.len() > MAX_LENGTH {
            return Err(TooLong);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    /// Interprets the line; returns the event that it ends.
    fn end_line(&mut self) -> Result<Option<Event>, TooLong> {
        let line = std::mem::take(&mut self.line);
        let is_first = !std::mem::replace(&mut self.begun, true);
        let bytes: &[u8] = if is_first { line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&line) } else { &line };
        if bytes.is_empty() {
            return Ok(self.end_event());
        }
        let text = String::from_utf8_lossy(bytes);
        let (field, value) = text.split_once(':').unwrap_or((&*text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => {
                self.data_length += value.len();
                if self.data_length > MAX_LENGTH {
                    return Err(TooLong);
                }
                self.data.push(value.to_owned());
            }
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            // Comments, whose field is empty, `retry`, and what a newer standard may add.
            _ => {}
        }
        Ok(None)
    }

    fn end_event(&mut self) -> Option<Event> {
        self.last_id.clone_from(&self.id);
        let name = std::mem::take(&mut self.name);
        let data = std::mem::take(&mut self.data);
        self.data_length = 0;
        if data.is_empty() {
            return None;
        }
        let name = if name.is_empty() { "message".to_owned() } else { name };
        Some(Event { name, data: data.join("\n") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, data: &str) -> Event {
        Event { name: name.to_owned(), data: data.to_owned() }
    }

    /// The events and the last ID of a stream that arrives in pieces of `size` bytes.
    fn read(stream: &[u8], size: usize) -> (Vec<Event>, Option<String>) {
        let mut parser = Parser::default();
        let events = stream.chunks(size).flat_map(|piece| parser.feed(piece).unwrap()).collect();
        (events, parser.last_id().map(str::to_owned))
    }

    #[test]
    fn line_ends_and_pieces_make_no_difference() {
        let stream = "\u{feff}: hello\n\nid: 7\nevent: state\ndata: {\"a\":\ndata:1}\n\n: keep-alive\n\n\
                      event: end\ndata: 猫 : x\nid: 8\n\ndata: not complete\nid: 9\n";
        let expected = (vec![event("state", "{\"a\":\n1}"), event("end", "猫 : x")], Some("8".to_owned()));
        for end in ["\n", "\r\n", "\r"] {
            let stream = stream.replace('\n', end);
            for size in 1..=stream.len() {
                assert_eq!(read(stream.as_bytes(), size), expected, "{end:?} {size}");
            }
        }
    }

    #[test]
    fn mixed_line_ends_are_line_ends() {
        let (events, _) = read(b"data: a\r\rdata: b\r\n\ndata: c\n\r\n", 3);
        assert_eq!(events, ["a", "b", "c"].map(|data| event("message", data)));
    }

    #[test]
    fn an_empty_piece_after_a_return_is_nothing() {
        let mut parser = Parser::default();
        let mut events = Vec::new();
        for piece in ["data: a\r", "", "\n", "\r", "\n"] {
            events.extend(parser.feed(piece.as_bytes()).unwrap());
        }
        assert_eq!(events, [event("message", "a")]);
    }

    #[test]
    fn fields_are_read_as_in_the_standard() {
        for (stream, events, id) in [
            // Only one space belongs to the colon.
            ("data:  a\n\n", vec![event("message", " a")], None),
            ("data\ndata\n\n", vec![event("message", "\n")], None),
            ("data:\n\n", vec![event("message", "")], None),
            // Without data there is no event, but its ID counts, and its name does not stay.
            ("event: x\nid: 1\n\ndata: a\n\n", vec![event("message", "a")], Some("1")),
            // An ID holds for the events after it; an empty one removes it.
            ("id: 1\ndata: a\n\ndata: b\n\n", vec![event("message", "a"), event("message", "b")], Some("1")),
            ("id: 1\ndata: a\n\nid\n\n", vec![event("message", "a")], Some("")),
            ("id: 1\0\ndata: a\n\n", vec![event("message", "a")], None),
            ("retry: 10\nother: x\nData: x\n\n\n", vec![], None),
        ] {
            assert_eq!(read(stream.as_bytes(), 1), (events, id.map(str::to_owned)), "{stream:?}");
        }
    }

    #[test]
    fn broken_characters_are_replaced() {
        let (events, _) = read(b"data: a\xffb\n\n", 1);
        assert_eq!(events, [event("message", "a\u{fffd}b")]);
    }

    #[test]
    fn endless_lines_and_events_are_refused() {
        let mut parser = Parser::default();
        let piece = vec![b'x'; MAX_LENGTH / 2];
        assert_eq!(parser.feed(&piece), Ok(vec![]));
        assert_eq!(parser.feed(&piece), Ok(vec![]));
        assert_eq!(parser.feed(b"x"), Err(TooLong));

        let mut parser = Parser::default();
        let line = [b"data: ", piece.as_slice(), b"\n"].concat();
        assert_eq!(parser.feed(&line), Ok(vec![]));
        assert_eq!(parser.feed(&line), Ok(vec![]));
        assert_eq!(parser.feed(b"data: x\n"), Err(TooLong));
    }
}
