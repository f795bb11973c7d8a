//! The secret that speaks for an account.

use std::fmt;

use http::HeaderValue;
use zeroize::Zeroizing;

/// An account's token. It is wiped when dropped and never printed.
///
/// The copy inside a request that is under way is not wiped; it is marked sensitive, so that nobody prints it.
#[derive(Clone)]
pub struct Token(Zeroizing<String>);

impl Token {
    /// The token of this text; white space around it is dropped.
    ///
    /// # Errors
    /// [`BadToken`] if it is empty or holds anything but visible ASCII: it could not be sent.
    pub fn new(text: impl Into<String>) -> Result<Self, BadToken> {
        let given = Zeroizing::new(text.into());
        let text = given.trim();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(BadToken);
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }

    /// The text, to be stored sealed.
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub(super) fn header(&self) -> HeaderValue {
        let mut value = HeaderValue::from_str(&self.0).expect("visible ASCII is a header value");
        value.set_sensitive(true);
        value
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// The text is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a token is made of visible ASCII characters, without spaces")]
pub struct BadToken;
