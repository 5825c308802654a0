//! The texts that devices write into their log and send to `/v1/log`. The passbook-service recognises their causes by
//! these words, so they are kept to the letter.

use std::fmt;

use time::OffsetDateTime;

/// What the device was doing, with what its log says of it in parentheses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// `POST …/registrations/…`.
    Register {
        /// The device.
        device: String,
        /// The pass type.
        pass_type: String,
        /// The serial number.
        serial: String,
    },
    /// `DELETE …/registrations/…`.
    Unregister {
        /// The device.
        device: String,
        /// The pass type.
        pass_type: String,
        /// The serial number.
        serial: String,
    },
    /// `GET …/registrations/…`.
    GetSerials {
        /// The device.
        device: String,
        /// The pass type.
        pass_type: String,
        /// The tag of the request.
        tag: Option<String>,
    },
    /// `GET /v1/passes/…`.
    GetPass {
        /// The pass type.
        pass_type: String,
        /// The serial number.
        serial: String,
        /// The `If-Modified-Since` of the request.
        since: Option<String>,
    },
    /// `POST /v1/passes/…/personalize`.
    Personalize {
        /// The pass type.
        pass_type: String,
        /// The serial number.
        serial: String,
    },
}

/// What the log says `(null)` for.
fn or_null(text: Option<&str>) -> &str {
    text.unwrap_or("(null)")
}

/// What went wrong, as the log has it after the date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Complaint {
    /// A task failed.
    Failed {
        /// Which.
        task: Task,
        /// Where.
        url: String,
        /// Why.
        error: TaskError,
    },
    /// A serial was listed that this device is not registered for.
    UnregisteredSerial(Place, String),
    /// No 304: serial and `If-Modified-Since`.
    IgnoredIfModifiedSince(Place, String, String),
    /// A pass came without `Last-Modified`: serial.
    NoLastModified(Place, String),
    /// A pass was listed that had not changed: serial.
    Unchanged(Place, String),
    /// A push, and nothing listed: tag and device.
    SpuriousPush(Place, Option<String>, String),
    /// Serials listed under the tag that was sent: how many, and the tag.
    TagRemained(Place, usize, String),
    /// Serials listed without a tag: how many.
    TagOmitted(Place, usize),
    /// A pass was the same after its personalization: serial.
    NotPersonalized(Place, String),
}

/// The pass type and web service that a complaint is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The pass type.
    pub pass_type: String,
    /// The web service.
    pub url: String,
}

/// Why a task failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskError {
    /// 401.
    Authentication,
    /// Any other status that the protocol does not know here.
    Status(u16),
    /// A body that is not what the protocol says.
    Malformed(String),
    /// A package that cannot be used.
    InvalidPass(String),
    /// The wrong pass: asked for, received.
    WrongSerial(String, String),
    /// No answer at all.
    Network(String),
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authentication => f.write_str("Authentication failure"),
            Self::Status(status) => write!(f, "Unexpected response code {status}"),
            Self::Malformed(why) => write!(f, "Server response was malformed ({why})"),
            Self::InvalidPass(why) => write!(f, "Received invalid pass data ({why})"),
            Self::WrongSerial(asked, received) => {
                write!(f, "Requested serial number {asked}, received serial number {received}")
            }
            Self::Network(why) => f.write_str(why),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Web service error for {} ({})", self.pass_type, self.url)
    }
}

impl Complaint {
    /// The web service that it is sent to.
    #[must_use]
    pub fn url(&self) -> &str {
        match self {
            Self::Failed { url, .. } => url,
            Self::UnregisteredSerial(place, ..)
            | Self::IgnoredIfModifiedSince(place, ..)
            | Self::NoLastModified(place, ..)
            | Self::Unchanged(place, ..)
            | Self::SpuriousPush(place, ..)
            | Self::TagRemained(place, ..)
            | Self::TagOmitted(place, ..)
            | Self::NotPersonalized(place, ..) => &place.url,
        }
    }

    /// The line for `/v1/log`: `[date zone] WHAT`.
    #[must_use]
    pub fn line(&self, now_ms: i64) -> String {
        let date = OffsetDateTime::from_unix_timestamp(now_ms.div_euclid(1000)).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let (day, time) = (date.date(), date.time());
        format!("[{day} {:02}:{:02}:{:02} +0000] {self}", time.hour(), time.minute(), time.second())
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { task, url, error } => {
                task.write(f, url)?;
                write!(f, " encountered error: {error}")
            }
            Self::UnregisteredSerial(place, serial) => {
                write!(f, "{place}: Update requested for unregistered serial number {serial}")
            }
            Self::IgnoredIfModifiedSince(place, serial, date) => write!(
                f,
                "{place}: Server ignored the 'if-modified-since' header ({date}) and returned the full unchanged pass \
                 data for serial number '{serial}'."
            ),
            Self::NoLastModified(place, serial) => write!(
                f,
                "{place}: Server returned the pass data for serial number '{serial}' but did not provide a \
                 'last-modified' header."
            ),
            Self::Unchanged(place, serial) => {
                write!(f, "{place}: Server requested update to serial number '{serial}', but the pass was unchanged.")
            }
            Self::SpuriousPush(place, tag, device) => write!(
                f,
                "{place}: Device received spurious push. Request for passesUpdatedSince '{}' returned no serial \
                 numbers. (Device = {device})",
                or_null(tag.as_deref())
            ),
            Self::TagRemained(place, count, tag) => write!(
                f,
                "{place}: Response to 'What changed?' request included {count} serial numbers but the lastUpdated tag \
                 ({tag}) remained the same."
            ),
            Self::TagOmitted(place, count) => write!(
                f,
                "{place}: Response to 'What changed?' request included {count} serial numbers but omitted a \
                 lastUpdated tag."
            ),
            Self::NotPersonalized(place, serial) => write!(
                f,
                "{place}: Personalization request was issued for serial number '{serial}', but the pass was unchanged."
            ),
        }
    }
}

impl Task {
    fn write(&self, f: &mut fmt::Formatter<'_>, url: &str) -> fmt::Result {
        match self {
            Self::Register { device, pass_type, serial } => write!(
                f,
                "Register task (for device {device}, pass type {pass_type}, serial number {serial}; with web service \
                 url {url})"
            ),
            Self::Unregister { device, pass_type, serial } => write!(
                f,
                "Unregister task (for device {device}, pass type {pass_type}, serial number {serial}; with web \
                 service url {url})"
            ),
            Self::GetSerials { device, pass_type, tag } => write!(
                f,
                "Get serial #s task (for device {device}, pass type {pass_type}, last updated {}; with web service \
                 url {url})",
                or_null(tag.as_deref())
            ),
            Self::GetPass { pass_type, serial, since } => write!(
                f,
                "Get pass task (pass type {pass_type}, serial number {serial}, if-modified-since {}; with web service \
                 url {url})",
                or_null(since.as_deref())
            ),
            Self::Personalize { pass_type, serial } => write!(
                f,
                "Personalize pass task (pass type {pass_type}, serial number {serial}; with web service url {url})"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_the_form_of_device_logs() {
        let place = Place { pass_type: "pass.a".to_owned(), url: "https://w".to_owned() };
        let complaint = Complaint::TagRemained(place, 2, "7".to_owned());
        assert_eq!(
            complaint.line(1_355_348_894_000),
            "[2012-12-12 21:48:14 +0000] Web service error for pass.a (https://w): Response to 'What changed?' \
             request included 2 serial numbers but the lastUpdated tag (7) remained the same."
        );
    }
}
