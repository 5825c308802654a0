//! The few MQTT 3.1.1 packets of the load, written and read by hand: the generator must cost less than the broker it
//! measures, and a client that shares no code with our broker does not share its mistakes.

/// User name and password.
pub(super) type Login = Option<(String, String)>;

/// What a broker sends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// CONNACK with its return code.
    Connected(u8),
    /// SUBACK; whether every filter was granted.
    Subscribed(bool),
    /// PUBLISH: its packet id (0 at QoS 0) and the first eight bytes of its payload.
    Message(u16, u64),
    /// PUBACK.
    Acknowledged,
    /// Anything else.
    Other,
}

fn packet(out: &mut Vec<u8>, first: u8, length: usize) {
    out.push(first);
    let mut rest = length;
    loop {
        let byte = (rest & 0x7F) as u8;
        rest >>= 7;
        if rest == 0 {
            return out.push(byte);
        }
        out.push(byte | 0x80);
    }
}

fn field(out: &mut Vec<u8>, text: &str) {
    out.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend(text.as_bytes());
}

/// CONNECT with a clean session and the longest keep-alive (rumqttd refuses none at all): no run is as long.
pub(super) fn connect(client: &str, login: &Login) -> Vec<u8> {
    let mut body = Vec::new();
    field(&mut body, "MQTT");
    body.push(4);
    body.push(if login.is_some() { 0xC2 } else { 0x02 });
    body.extend(u16::MAX.to_be_bytes());
    field(&mut body, client);
    if let Some((user, password)) = login {
        field(&mut body, user);
        field(&mut body, password);
    }
    let mut out = Vec::with_capacity(body.len() + 5);
    packet(&mut out, 0x10, body.len());
    out.extend(body);
    out
}

/// SUBSCRIBE to all of these at QoS 1.
pub(super) fn subscribe(filters: &[String]) -> Vec<u8> {
    let mut body = vec![0, 1];
    for filter in filters {
        field(&mut body, filter);
        body.push(1);
    }
    let mut out = Vec::with_capacity(body.len() + 5);
    packet(&mut out, 0x82, body.len());
    out.extend(body);
    out
}

/// Adds a PUBLISH at QoS 1 whose payload of `size` bytes (at least 8) begins with `stamp`.
pub(super) fn publish(out: &mut Vec<u8>, topic: &str, id: u16, stamp: u64, size: usize) {
    let size = size.max(8);
    packet(out, 0x32, 2 + topic.len() + 2 + size);
    field(out, topic);
    out.extend(id.to_be_bytes());
    out.extend(stamp.to_be_bytes());
    out.resize(out.len() + size - 8, b'x');
}

/// PUBACK.
pub(super) fn puback(id: u16) -> [u8; 4] {
    let [high, low] = id.to_be_bytes();
    [0x40, 2, high, low]
}

/// DISCONNECT.
pub(super) const DISCONNECT: [u8; 2] = [0xE0, 0];

/// The first whole packet of `bytes` and its length; `None` when more is needed.
pub(super) fn next(bytes: &[u8]) -> Option<(Event, usize)> {
    let first = *bytes.first()?;
    let (mut length, mut header) = (0_usize, 1);
    loop {
        let byte = *bytes.get(header)?;
        length |= usize::from(byte & 0x7F) << (7 * (header - 1));
        header += 1;
        if byte & 0x80 == 0 || header > 4 {
            break;
        }
    }
    let body = bytes.get(header..header + length)?;
    Some((event(first, body), header + length))
}

fn event(first: u8, body: &[u8]) -> Event {
    match first >> 4 {
        2 => Event::Connected(body.get(1).copied().unwrap_or(u8::MAX)),
        3 => message(first, body).unwrap_or(Event::Other),
        4 => Event::Acknowledged,
        9 => Event::Subscribed(body.get(2..).is_some_and(|codes| codes.iter().all(|code| *code < 0x80))),
        _ => Event::Other,
    }
}

fn message(first: u8, body: &[u8]) -> Option<Event> {
    let number = |at: usize| body.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes);
    let topic = usize::from(number(0)?);
    let (id, payload) = if first & 0x06 == 0 { (0, 2 + topic) } else { (number(2 + topic)?, 4 + topic) };
    let stamp = body.get(payload..payload + 8)?.try_into().ok().map(u64::from_be_bytes)?;
    Some(Event::Message(id, stamp))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut bytes = Vec::new();
        publish(&mut bytes, "42_inbox", 7, 99, 200);
        let cut = bytes.len();
        bytes.extend(puback(3));
        bytes.extend([0x20, 2, 0, 5]);
        bytes.extend([0x90, 4, 0, 1, 1, 0x80]);
        assert_eq!(next(&bytes), Some((Event::Message(7, 99), cut)));
        assert_eq!(next(&bytes[..cut - 1]), None);
        let mut at = cut;
        let mut read = || {
            let (event, length) = next(&bytes[at..]).unwrap();
            at += length;
            event
        };
        assert_eq!((read(), read(), read()), (Event::Acknowledged, Event::Connected(5), Event::Subscribed(false)));
    }

    #[test]
    fn a_connect_says_what_it_should() {
        let login = Some(("JWT".to_owned(), "x".repeat(200)));
        let bytes = connect("phone", &login);
        assert_eq!(bytes[0], 0x10);
        assert_eq!(usize::from(bytes[1] & 0x7F) + usize::from(bytes[2]) * 128 + 3, bytes.len());
        assert_eq!(connect("a", &None)[9], 0x02);
    }
}
