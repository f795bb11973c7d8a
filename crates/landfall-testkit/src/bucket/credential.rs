//! Who may do what.

use super::Operation;

/// A key that requests are signed with, and what it may not do. The default is the key of AWS's own examples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    pub(super) access_key_id: String,
    pub(super) secret_access_key: String,
    pub(super) session_token: Option<String>,
    pub(super) expires_at_ms: Option<i64>,
    denied: Vec<(Vec<Operation>, String)>,
}

impl Credential {
    /// A key that may do anything for ever.
    pub fn new(access_key_id: &str, secret_access_key: &str) -> Self {
        Self {
            access_key_id: access_key_id.to_owned(),
            secret_access_key: secret_access_key.to_owned(),
            session_token: None,
            expires_at_ms: None,
            denied: Vec::new(),
        }
    }

    /// The half that is sent.
    pub fn access_key_id(&self) -> &str {
        &self.access_key_id
    }

    /// The half that is not.
    pub fn secret_access_key(&self) -> &str {
        &self.secret_access_key
    }

    /// Requests must also show this token.
    pub fn with_session_token(self, token: &str) -> Self {
        Self { session_token: Some(token.to_owned()), ..self }
    }

    /// It is refused as `ExpiredToken` from this moment on, in Unix milliseconds.
    pub fn expiring_at(self, moment_ms: i64) -> Self {
        Self { expires_at_ms: Some(moment_ms), ..self }
    }

    /// It may not do this with keys below a prefix, nor list them; the empty prefix means the whole bucket. Whoever may
    /// not list is not told that an object is missing, but refused.
    pub fn denied(mut self, operations: &[Operation], prefix: &str) -> Self {
        self.denied.push((operations.to_vec(), prefix.to_owned()));
        self
    }

    pub(super) fn may(&self, operation: Operation, key: &str) -> bool {
        let denies = |(operations, prefix): &(Vec<Operation>, String)| {
            operations.contains(&operation) && key.starts_with(prefix.as_str())
        };
        !self.denied.iter().any(denies)
    }
}

impl Default for Credential {
    fn default() -> Self {
        Self::new("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    }
}
