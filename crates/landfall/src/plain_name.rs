//! Names that others give to files.

/// A name that stays in its folder, on this system.
pub(crate) fn is_plain_name(name: &[u8]) -> bool {
    let plain = !name.is_empty() && name != b"." && name != b".." && !name.iter().any(|byte| matches!(byte, 0 | b'/'));
    plain && (!cfg!(windows) || is_plain_windows_name(name))
}

/// Windows gives meaning to more: device names, drive letters, streams, backslashes, ends that it drops.
fn is_plain_windows_name(name: &[u8]) -> bool {
    const DEVICES: [&str; 24] = [
        "CON", "PRN", "AUX", "NUL", "COM1", "COM2", "COM3", "COM4", "COM5", "COM6", "COM7", "COM8", "COM9", "LPT1",
        "LPT2", "LPT3", "LPT4", "LPT5", "LPT6", "LPT7", "LPT8", "LPT9", "CONIN$", "CONOUT$",
    ];
    let Ok(text) = std::str::from_utf8(name) else { return false };
    // Windows reads these three digits as the plain ones.
    let stem =
        text.split('.').next().unwrap_or_default().trim_end().replace('¹', "1").replace('²', "2").replace('³', "3");
    !text.contains(['\\', ':', '*', '?', '"', '<', '>', '|'])
        && !text.chars().any(|c| c.is_control())
        && !text.ends_with(['.', ' '])
        && !DEVICES.iter().any(|device| stem.eq_ignore_ascii_case(device))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leaves_its_folder_is_not_plain() {
        for name in ["", ".", "..", "a/b", "/", "a\0b"] {
            assert!(!is_plain_name(name.as_bytes()), "{name:?}");
        }
        for name in ["...", "a b", "ü.jpg"] {
            assert!(is_plain_name(name.as_bytes()), "{name:?}");
        }
    }

    #[test]
    fn a_name_with_a_meaning_of_its_own_on_windows_is_not_plain_there() {
        for name in
            ["con", "NUL.jpg", "conin$", "COM¹.txt", "com1 .txt", "a:b", "a\\b", "end.", "end ", "a\x1bb", "what?"]
        {
            assert!(!is_plain_windows_name(name.as_bytes()), "{name:?}");
        }
        for name in ["console.jpg", "a.b.jpg", "ü.jpg"] {
            assert!(is_plain_windows_name(name.as_bytes()), "{name:?}");
        }
    }
}
