//! HTTP through curl, the client that everybody has.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    url: String,
    headers: Vec<String>,
    body: Option<Vec<u8>>,
    arguments: Vec<String>,
    bound: Duration,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Header lines, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// A request with this method.
    #[must_use]
    pub fn new(method: &str, url: impl Into<String>) -> Self {
        Self {
            method: method.to_owned(),
            url: url.into(),
            headers: Vec::new(),
            body: None,
            arguments: Vec::new(),
            bound: Duration::from_secs(60),
        }
    }

    /// GET.
    #[must_use]
    pub fn get(url: impl Into<String>) -> Self {
        Self::new("GET", url)
    }

    /// POST.
    #[must_use]
    pub fn post(url: impl Into<String>) -> Self {
        Self::new("POST", url)
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push(format!("{name}: {value}"));
        self
    }

    /// Adds `Authorization: Bearer …`.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    /// Sends these bytes.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Sends JSON.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.header("Content-Type", "application/json").body(body.to_string())
    }

    /// Passes more arguments to curl.
    #[must_use]
    pub fn curl(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// Gives up after this long.
    #[must_use]
    pub fn within(mut self, bound: Duration) -> Self {
        self.bound = bound;
        self
    }

    /// Sends it.
    ///
    /// # Panics
    /// When there is no answer.
    #[must_use]
    pub fn send(self) -> Answer {
        let shown = format!("{} {}", self.method, self.url);
        self.try_send().unwrap_or_else(|error| panic!("{shown}: {error}"))
    }

    /// Sends it; an error is what curl said.
    ///
    /// # Errors
    /// When there is no answer.
    ///
    /// # Panics
    /// When curl cannot be started.
    pub fn try_send(self) -> Result<Answer, String> {
        let mut command = Command::new("curl");
        command
            .args(["--silent", "--show-error", "--include", "--path-as-is", "--noproxy", "*"])
            .args(["--max-time", &self.bound.as_secs().max(1).to_string()]);
        if self.method == "HEAD" {
            command.arg("--head");
        } else {
            command.args(["--request", &self.method]);
        }
        // A body of our own would otherwise be announced as a form.
        for header in ["Expect:", "Content-Type:"].iter().filter(|own| !self.has(own)) {
            command.args(["--header", header]);
        }
        for header in &self.headers {
            command.args(["--header", header]);
        }
        command.args(&self.arguments);
        if self.body.is_some() {
            command.args(["--data-binary", "@-"]);
        }
        let mut child = command
            .arg(&self.url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("curl can be started");
        let mut input = child.stdin.take().expect("a pipe");
        if let Some(body) = &self.body {
            // curl may have refused already; what it said is the better error.
            let _ = input.write_all(body);
        }
        drop(input);
        let output = child.wait_with_output().expect("curl ends");
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        Ok(parse(&output.stdout))
    }

    fn has(&self, header: &str) -> bool {
        self.headers.iter().any(|line| line.to_ascii_lowercase().starts_with(&header.to_ascii_lowercase()))
    }
}

impl Answer {
    /// A header's value; the first one when there are several.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}): {self}"))
    }

    /// `error.code` of a refusal.
    #[must_use]
    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    /// This answer, when it has the expected status.
    ///
    /// # Panics
    /// When it has another one.
    #[must_use]
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "another answer was promised than {self}");
        self
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::new();
        for (name, value) in &self.headers {
            let _ = writeln!(text, "{name}: {value}");
        }
        let body: String = self.text().chars().take(2000).collect();
        write!(f, "HTTP {}\n{text}\n{body}", self.status)
    }
}

/// Reads the last head (interim answers and proxies write one each) and the body after it.
fn parse(output: &[u8]) -> Answer {
    let mut rest = output;
    loop {
        let end = rest.windows(4).position(|window| window == b"\r\n\r\n").expect("the end of the head");
        let head = String::from_utf8_lossy(&rest[..end]).into_owned();
        rest = &rest[end + 4..];
        let mut lines = head.lines();
        let status: u16 = lines
            .next()
            .and_then(|line| line.split(' ').nth(1))
            .and_then(|status| status.parse().ok())
            .expect("a status line");
        if status < 200 {
            continue;
        }
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        return Answer { status, headers, body: rest.to_vec() };
    }
}
