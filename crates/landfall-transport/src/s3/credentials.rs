//! Who asks.

use std::fmt;

use zeroize::Zeroizing;

/// An access key, its secret, and the token of a session if they are good for one only. Secrets are wiped when dropped and
/// never printed.
///
/// The copy of a session token inside a request that is under way is not wiped; it is marked sensitive, so that nobody
/// prints it.
#[derive(Clone)]
pub struct Credentials {
    access_key: String,
    secret: Zeroizing<String>,
    session_token: Option<Zeroizing<String>>,
}

impl Credentials {
    /// These credentials; white space around each is dropped, and an empty session token is none.
    ///
    /// # Errors
    /// [`BadCredentials`] if they could not be sent, or cannot be what a store gave out.
    pub fn new(
        access_key: impl Into<String>,
        secret: impl Into<String>,
        session_token: Option<String>,
    ) -> Result<Self, BadCredentials> {
        let access_key = access_key.into().trim().to_owned();
        let secret = trimmed(secret.into());
        let session_token = session_token.map(trimmed).filter(|token| !token.is_empty());
        // A slash or a comma would end it early in the header that it is written into.
        if !is_word(&access_key) || access_key.contains(['/', ',']) {
            return Err(BadCredentials::ACCESS_KEY);
        }
        if secret.is_empty() || secret.chars().any(char::is_control) {
            return Err(BadCredentials::SECRET);
        }
        if session_token.as_ref().is_some_and(|token| !is_word(token)) {
            return Err(BadCredentials::SESSION_TOKEN);
        }
        Ok(Self { access_key, secret, session_token })
    }

    /// The access key: a name, not a secret.
    pub fn access_key(&self) -> &str {
        &self.access_key
    }

    pub(super) fn secret(&self) -> &str {
        &self.secret
    }

    pub(super) fn session_token(&self) -> Option<&str> {
        self.session_token.as_ref().map(|token| token.as_str())
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// Why a text cannot be among credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadCredentials(&'static str);

impl BadCredentials {
    const ACCESS_KEY: Self =
        Self("an access key is made of visible ASCII characters without slash and comma; copy it again");
    const SECRET: Self = Self("a secret is one line of text; copy it again");
    const SESSION_TOKEN: Self = Self("a session token is made of visible ASCII characters; copy it again");
}

fn trimmed(given: String) -> Zeroizing<String> {
    let given = Zeroizing::new(given);
    Zeroizing::new(given.trim().to_owned())
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_what_can_be_sent_and_are_never_printed() {
        let token = || Some("token".to_owned());
        let good = Credentials::new(" AKID\n", " secret/with space\n", token()).unwrap();
        assert_eq!(
            (good.access_key(), good.secret(), good.session_token()),
            ("AKID", "secret/with space", Some("token"))
        );
        assert_eq!(format!("{good:?}"), "Credentials(…)");
        assert_eq!(Credentials::new("a", "s", Some(" ".to_owned())).unwrap().session_token(), None);
        for (access_key, secret, session_token, expected) in [
            ("", "s", None, BadCredentials::ACCESS_KEY),
            ("a/b", "s", None, BadCredentials::ACCESS_KEY),
            ("a, b", "s", None, BadCredentials::ACCESS_KEY),
            ("ä", "s", None, BadCredentials::ACCESS_KEY),
            ("a", " ", None, BadCredentials::SECRET),
            ("a", "two\nlines", None, BadCredentials::SECRET),
            ("a", "s", Some("two\r\nlines".to_owned()), BadCredentials::SESSION_TOKEN),
        ] {
            assert_eq!(Credentials::new(access_key, secret, session_token).unwrap_err(), expected);
        }
    }
}
