//! What is wrong with a pass or a template, said so that its author can mend it: key, value, rule.

use std::fmt;

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Fault {
    /// Where: `backgroundColor`, `storeCard.primaryFields[0].key`, or a file name.
    pub key: String,
    /// The value that was found, shortened; `nothing` when it is absent.
    pub found: String,
    /// What is allowed.
    pub rule: String,
}

/// Everything that is wrong, at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Notes a broken rule. `found` is shortened to 80 characters.
    pub fn add(&mut self, key: impl Into<String>, found: impl fmt::Display, rule: impl Into<String>) {
        self.0.push(Fault { key: key.into(), found: shorten(&found.to_string()), rule: rule.into() });
    }

    /// Takes over the faults of a part.
    pub fn extend(&mut self, other: Faults) {
        self.0.extend(other.0);
    }

    /// `Ok` when nothing was noted.
    ///
    /// # Errors
    /// The faults themselves, when there are any.
    pub fn into_result(self) -> Result<(), Faults> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }

    /// The single faults as they are.
    #[must_use]
    pub fn into_list(self) -> Vec<Fault> {
        self.0
    }

    /// The single faults, in the order in which they were found.
    #[must_use]
    pub fn list(&self) -> &[Fault] {
        &self.0
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: found {}; {}", self.key, self.found, self.rule)
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

fn shorten(text: &str) -> String {
    const LONGEST: usize = 80;
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    text.chars().take(LONGEST).chain(std::iter::once('…')).collect()
}
