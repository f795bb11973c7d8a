//! Where a vault is served.

use std::{fmt, net::IpAddr};

use http::{
    Uri,
    uri::{Authority, PathAndQuery, Scheme},
};
use landfall_core::{Code, Failure, Remedy};

/// Scheme, host and port of a vault's server.
#[derive(Clone, PartialEq, Eq)]
pub struct Origin {
    scheme: Scheme,
    authority: Authority,
}

impl Origin {
    /// The server in this process, as [`crate::ServiceCarrier`] calls it. The name cannot exist in any network.
    pub fn in_process() -> Self {
        Self { scheme: Scheme::HTTP, authority: Authority::from_static("vault.invalid") }
    }

    /// Reads `https://host` or `http://host:port`, with or without a slash at the end.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it, if it is not an origin: another scheme, a path, a user name.
    pub fn parse(text: &str) -> Result<Self, BadOrigin> {
        let uri: Uri = text.trim().parse().map_err(|_| BadOrigin("it is not a URL"))?;
        // What sort of server it is comes first: a path is not what is wrong with `s3://bucket/folder`.
        let origin = Self::of(&uri)?;
        if uri.path() != "/" && !uri.path().is_empty() || uri.query().is_some() || text.contains(['#', '?']) {
            return Err(BadOrigin("it has a path; give scheme, host and port alone"));
        }
        Ok(origin)
    }

    /// The same origin serves `uri`: scheme, host and port are equal, an omitted port being the scheme's own.
    pub fn holds(&self, uri: &Uri) -> bool {
        Self::of(uri).is_ok_and(|other| {
            other.scheme == self.scheme
                && other.authority.host().eq_ignore_ascii_case(self.authority.host())
                && other.port() == self.port()
        })
    }

    /// It is reached without any network: this machine, by whichever of its names.
    pub fn is_loopback(&self) -> bool {
        let host = self.authority.host().trim_matches(['[', ']']);
        host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|host| host.is_loopback())
    }

    /// Its host is an IP address and not a name.
    pub(crate) fn is_address(&self) -> bool {
        self.authority.host().trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
    }

    pub(crate) fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    pub(crate) fn host(&self) -> &str {
        self.authority.host()
    }

    /// Its port, also if it is the scheme's own.
    pub fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or(if self.scheme == Scheme::HTTPS { 443 } else { 80 })
    }

    /// The absolute URI of a path of our own.
    ///
    /// # Errors
    /// [`Code::BadAnswer`] if it is no path.
    pub fn path(&self, path: &str) -> Result<Uri, Failure> {
        self.below(path).ok_or_else(|| bad_url("it is not a path"))
    }

    /// The absolute URI of a URL that a server gave us in a grant or a redirect.
    ///
    /// It may be a path below this origin, a URL of this origin, or any `https` URL: blobs may live with another
    /// provider, and such a URL is sent no token, only ciphertext and what the grant itself says. Plain `http` to
    /// another host is refused, since it would let a server point us at whatever listens in this device's network.
    ///
    /// # Errors
    /// [`Code::BadAnswer`] for any other.
    pub fn resolve(&self, url: &str) -> Result<Uri, Failure> {
        if url.starts_with('/') {
            return self.path(url);
        }
        let uri: Uri = url.parse().map_err(|_| bad_url("it is not a URL"))?;
        let other = Self::of(&uri).map_err(|BadOrigin(why)| bad_url(why))?;
        if other.scheme != Scheme::HTTPS && !self.holds(&uri) {
            return Err(bad_url("it leads to another server without TLS"));
        }
        Ok(uri)
    }

    fn of(uri: &Uri) -> Result<Self, BadOrigin> {
        let scheme = uri.scheme().filter(|scheme| **scheme == Scheme::HTTP || **scheme == Scheme::HTTPS);
        let scheme = scheme.ok_or(BadOrigin("it does not begin with https:// or http://"))?;
        let authority = uri.authority().filter(|authority| !authority.host().is_empty());
        let authority = authority.ok_or(BadOrigin("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(BadOrigin("it has a user name in it"));
        }
        if authority.as_str().len() > authority.host().len() && authority.port_u16().is_none() {
            return Err(BadOrigin("its port is not a number up to 65535"));
        }
        Ok(Self { scheme: scheme.clone(), authority: authority.clone() })
    }

    fn below(&self, path: &str) -> Option<Uri> {
        // `//host` would be read as another host by whoever joins URLs the usual way.
        if !path.starts_with('/') || path.starts_with("//") {
            return None;
        }
        let path: PathAndQuery = path.parse().ok()?;
        Uri::builder().scheme(self.scheme.clone()).authority(self.authority.clone()).path_and_query(path).build().ok()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Origin({self})")
    }
}

/// Why a text is not an [`Origin`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the address of a server: {0}")]
pub struct BadOrigin(&'static str);

fn bad_url(why: &str) -> Failure {
    Failure::new(Remedy::Retry, Code::BadAnswer, format!("the server gave a URL that will not be followed: {why}"))
}
