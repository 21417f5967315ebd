//! What was found.

use std::fmt;

/// What [`assert_protected`](super::assert_protected) found out about an application's routes. `Display` is the failure it prints.
#[derive(Clone, Debug, Default)]
pub struct ProtectionReport {
    pub(super) protected: Vec<String>,
    pub(super) public: Vec<String>,
    pub(super) unseen: Vec<String>,
    pub(super) faults: Vec<String>,
}

impl ProtectionReport {
    /// Whether nothing is at fault.
    #[must_use]
    pub fn is_protected(&self) -> bool {
        self.faults.is_empty()
    }

    /// The routes that refuse a caller without a key, as `GET /cakes/{id}`.
    #[must_use]
    pub fn protected(&self) -> &[String] {
        &self.protected
    }

    /// The routes that answer one, each with the reason that was given.
    #[must_use]
    pub fn public(&self) -> &[String] {
        &self.public
    }

    /// What was not called, each with the reason that was given, or with what it is: nothing is known of it.
    #[must_use]
    pub fn unseen(&self) -> &[String] {
        &self.unseen
    }

    /// What is wrong, each with what to do about it.
    #[must_use]
    pub fn violations(&self) -> &[String] {
        &self.faults
    }
}

impl fmt::Display for ProtectionReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_protected() {
            formatter
                .write_str("every route refuses a caller without a key, or is named as public")?;
        } else {
            formatter.write_str(
                "routes that do not refuse a caller without a key, or of which that is not known:",
            )?;
        }
        for (number, fault) in self.faults.iter().enumerate() {
            write!(formatter, "\n\n{:>3}. {fault}", number + 1)?;
        }
        for (title, lines) in
            [("protected", &self.protected), ("public", &self.public), ("unseen", &self.unseen)]
        {
            write!(formatter, "\n\n{title}: {}", lines.len())?;
            for line in lines {
                write!(formatter, "\n     {line}")?;
            }
        }
        Ok(())
    }
}
