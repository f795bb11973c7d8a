//! Checking what the vault holds.

use landfall_core::Remedy;

use super::{fetch, listing::records};
use crate::{Engine, Error, Session};

/// What is said of a content that the vault does not offer whole.
const NOT_WHOLE: &str = "the content, or a part of it, is missing or has another length";

/// What a check found.
#[derive(Debug, Clone, Default)]
pub struct VerifyReport {
    /// Contents looked at.
    pub checked: u64,
    /// Bytes read and compared.
    pub bytes_read: u64,
    /// What is wrong: the vault's number and why.
    pub problems: Vec<(i64, String)>,
}

/// Checks that every record opens with our keys and that its objects are there with the right lengths: our server looks
/// at all parts of an object before it offers it. With `read_data` also reads every content and compares its digest, and
/// opens every thumbnail.
///
/// # Errors
/// [`Error::Destination`] if the vault cannot be asked.
pub async fn verify(engine: &Engine, session: &Session, read_data: bool) -> Result<VerifyReport, Error> {
    let mut report = VerifyReport::default();
    records(engine, session, async |id, open| {
        report.checked += 1;
        let open = match open {
            Ok(open) => open,
            Err(error) => {
                report.problems.push((id, error.to_string()));
                return Ok(());
            }
        };
        let file = &open.record.file;
        if !fetch::is_there(session, id, true, file.thumbnail.size).await? {
            report.problems.push((id, "the thumbnail is missing or has another length".to_owned()));
        }
        if !read_data {
            if !fetch::is_there(session, id, false, file.file.size).await? {
                report.problems.push((id, NOT_WHOLE.to_owned()));
            }
            return Ok(());
        }
        match fetch::thumbnail(session, &open).await {
            Ok(()) => {}
            Err(Error::Tampered(message)) => report.problems.push((id, message)),
            // It is missing, which was said above.
            Err(Error::Destination(failure))
                if matches!(failure.remedy, Remedy::Block | Remedy::Reopen | Remedy::Retry) => {}
            Err(error) => return Err(error),
        }
        match fetch::content(&engine.inner, session, &open, None).await {
            Ok(_) => report.bytes_read += open.content.metadata.size.unwrap_or(file.file.size),
            // The vault is there, and refuses what it should have.
            Err(Error::Destination(failure)) if matches!(failure.remedy, Remedy::Block | Remedy::Reopen) => {
                report.problems.push((id, NOT_WHOLE.to_owned()));
            }
            Err(error @ Error::Destination(_)) => return Err(error),
            Err(error) => report.problems.push((id, error.to_string())),
        }
        Ok(())
    })
    .await?;
    Ok(report)
}
