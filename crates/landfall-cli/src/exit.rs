//! How the process ends.

/// An exit code. Scripts rely on the numbers: none is ever reused for something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything that was asked for is done.
    Done,
    /// A bug, a broken disk, or data that is not what was written.
    Internal,
    /// The command line asks for something that cannot be.
    Usage,
    /// Some items are blocked, or some files have problems; the rest is done.
    Problems,
    /// Credentials are refused, or no key is at hand.
    Credentials,
    /// Something is still queued: the destination is away or full, or the budget is spent. Safe; a later run goes on.
    Queued,
    /// The configuration, or the home, cannot be used.
    Configuration,
    /// Ctrl-C.
    Interrupted,
    /// SIGTERM.
    Terminated,
}

impl Exit {
    /// The number the shell sees. 7 is kept for commands that need a daemon.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Internal => 1,
            Self::Usage => 2,
            Self::Problems => 3,
            Self::Credentials => 4,
            Self::Queued => 5,
            Self::Configuration => 8,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }

    /// Of two ways to end, the one that says more about what has to be done.
    pub(crate) fn or_worse(self, other: Self) -> Self {
        let gravity = |exit| match exit {
            Self::Done => 0,
            Self::Queued => 1,
            // Something that was asked for among others cannot be.
            Self::Problems | Self::Usage => 2,
            Self::Credentials => 3,
            Self::Configuration => 4,
            Self::Internal => 5,
            Self::Interrupted | Self::Terminated => 6,
        };
        if gravity(other) > gravity(self) { other } else { self }
    }

    /// How the command ends when the engine fails with this code.
    pub(crate) fn of_code(code: &str) -> Self {
        match code {
            "locked"
            | "wrong-password"
            | "wrong-recovery-key"
            | "no-keys"
            | "unauthorized"
            | "no-credentials"
            | "bad-credentials"
            | "credentials-expired"
            | "access-denied" => Self::Credentials,
            "offline" | "throttled" | "vault-full" | "home-full" | "server-error" | "answer-lost" | "stalled"
            | "vault-busy" | "vault-held" | "vault-missing" => Self::Queued,
            "invalid"
            | "not-found"
            | "no-such-item"
            | "no-such-content"
            | "no-such-vault"
            | "another-vault"
            | "no-such-destination"
            | "no-such-session"
            | "session-refused"
            | "destination-exists"
            | "destination-in-use"
            | "destination-moved" => Self::Usage,
            "key-taken" | "refused" | "differs" => Self::Problems,
            "home-read-only" | "home-unusable" | "not-permitted" | "vault-read-only" | "bad-config"
            | "no-such-bucket" | "wrong-region" | "clock-skewed" => Self::Configuration,
            _ => Self::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Exit;

    const ALL: [Exit; 9] = [
        Exit::Done,
        Exit::Internal,
        Exit::Usage,
        Exit::Problems,
        Exit::Credentials,
        Exit::Queued,
        Exit::Configuration,
        Exit::Interrupted,
        Exit::Terminated,
    ];

    #[test]
    fn the_numbers_are_those_that_are_documented() {
        let numbers: Vec<u8> = ALL.iter().map(|exit| exit.code()).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 8, 130, 143]);
    }

    #[test]
    fn the_engines_codes_end_as_documented() {
        for (code, exit) in [
            ("locked", 4),
            ("wrong-password", 4),
            ("wrong-recovery-key", 4),
            ("no-keys", 4),
            ("unauthorized", 4),
            ("offline", 5),
            ("throttled", 5),
            ("vault-full", 5),
            ("home-full", 5),
            ("journal-damaged", 1),
            ("tampered", 1),
            ("internal", 1),
            ("bad-credentials", 4),
            ("no-such-bucket", 8),
            ("key-taken", 3),
            ("differs", 3),
            ("destination-in-use", 2),
            ("invalid", 2),
            ("no-such-item", 2),
            ("home-read-only", 8),
            ("home-unusable", 8),
        ] {
            assert_eq!(Exit::of_code(code).code(), exit, "{code}");
        }
    }
}
