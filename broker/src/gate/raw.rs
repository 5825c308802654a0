//! Packets as bytes, for tests that must send what no client library would.

/// A packet with the right remaining length.
pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    bytes.extend(variable(body.len()));
    bytes.extend_from_slice(body);
    bytes
}

/// A variable byte integer.
pub(crate) fn variable(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = (value & 0x7F) as u8;
        value >>= 7;
        if value == 0 {
            bytes.push(byte);
            return bytes;
        }
        bytes.push(byte | 0x80);
    }
}

/// A string or binary with its length.
pub(crate) fn field(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let mut out = u16::try_from(bytes.len()).expect("a field of at most 65535 bytes").to_be_bytes().to_vec();
    out.extend_from_slice(bytes);
    out
}

/// A property list with its length.
pub(crate) fn properties(list: &[&[u8]]) -> Vec<u8> {
    let body = list.concat();
    let mut bytes = variable(body.len());
    bytes.extend(body);
    bytes
}

/// A CONNECT to be built up.
#[derive(Clone)]
pub(crate) struct Connect {
    pub(crate) name: Vec<u8>,
    pub(crate) level: u8,
    pub(crate) flags: u8,
    pub(crate) keep_alive: u16,
    pub(crate) properties: Vec<u8>,
    pub(crate) client_id: String,
    pub(crate) rest: Vec<u8>,
}

impl Connect {
    pub(crate) fn new(level: u8, client_id: &str) -> Self {
        Self {
            name: if level == 3 { b"MQIsdp".to_vec() } else { b"MQTT".to_vec() },
            level,
            flags: 0x02,
            keep_alive: 60,
            properties: Vec::new(),
            client_id: client_id.to_owned(),
            rest: Vec::new(),
        }
    }

    pub(crate) fn login(mut self, user: &str, password: &str) -> Self {
        self.flags |= 0xC0;
        self.rest.extend(field(user));
        self.rest.extend(field(password));
        self
    }

    pub(crate) fn property(mut self, property: &[u8]) -> Self {
        self.properties.extend_from_slice(property);
        self
    }

    pub(crate) fn flags(mut self, flags: u8) -> Self {
        self.flags = flags;
        self
    }

    pub(crate) fn rest(mut self, rest: &[u8]) -> Self {
        self.rest.extend_from_slice(rest);
        self
    }

    pub(crate) fn keep_alive(mut self, seconds: u16) -> Self {
        self.keep_alive = seconds;
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut body = field(&self.name);
        body.push(self.level);
        body.push(self.flags);
        body.extend(self.keep_alive.to_be_bytes());
        if self.level >= 5 {
            body.extend(properties(&[&self.properties]));
        }
        body.extend(field(&self.client_id));
        body.extend(&self.rest);
        packet(0x10, &body)
    }
}
