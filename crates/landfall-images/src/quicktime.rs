use crate::{
    Metadata,
    source::{Fault, Source},
};
pub(crate) fn read(_source: &mut Source<'_>, _metadata: &mut Metadata) -> Result<(), Fault> {
    Ok(())
}
pub(crate) fn read_cr3(_source: &mut Source<'_>, _metadata: &mut Metadata) -> Result<(), Fault> {
    Ok(())
}
