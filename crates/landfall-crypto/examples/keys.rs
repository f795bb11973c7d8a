//! Everything short that this crate computes, in hexadecimal digits: `cargo run --example keys -- VERB ARGUMENT...`.
//!
//! Like `stream`, it is how other implementations are compared with this one: see `tests/peers`.

use std::error::Error;

use landfall_crypto::{
    CollectionKey, Digest, FileKey, KeyEncryptionKey, MasterKey, PasswordParams, StreamHeader, TagKey, WrappedKey,
    content_tag, derive_kek, derive_subkey, login_key, name_tag, open_blob, seal_blob, secretbox_open, secretbox_seal,
    unwrap_key, wrap_key,
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let verb = args.next().ok_or("usage: keys VERB ARGUMENT...")?;
    let args = args.map(hex::decode).collect::<Result<Vec<_>, _>>()?;
    let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
    println!("{}", hex::encode(answer(&verb, &args)?));
    Ok(())
}

fn answer(verb: &str, args: &[&[u8]]) -> Result<Vec<u8>, Box<dyn Error>> {
    Ok(match (verb, args) {
        ("wrap", &[wrapping, nonce, key]) => {
            let key = FileKey::from_bytes(key.try_into()?);
            wrap_key(&collection_key(wrapping)?, nonce.try_into()?, &key).ciphertext.to_vec()
        }
        ("unwrap", &[wrapping, nonce, sealed]) => {
            let wrapped = WrappedKey { nonce: nonce.try_into()?, ciphertext: sealed.try_into()? };
            unwrap_key::<FileKey>(&collection_key(wrapping)?, &wrapped)?.expose().to_vec()
        }
        ("box", &[key, nonce, record]) => secretbox_seal(&collection_key(key)?, nonce.try_into()?, record),
        ("unbox", &[key, nonce, sealed]) => secretbox_open(&collection_key(key)?, nonce.try_into()?, sealed)?,
        ("kek", &[password, salt]) => {
            derive_kek(password, &PasswordParams::sensitive(salt.try_into()?))?.expose().to_vec()
        }
        ("login", &[kek]) => login_key(&KeyEncryptionKey::from_bytes(kek.try_into()?)).to_vec(),
        ("subkey", &[master, id, context]) => {
            let master = MasterKey::from_bytes(master.try_into()?);
            derive_subkey(&master, u64::from_be_bytes(id.try_into()?), context.try_into()?).to_vec()
        }
        ("digest", &[content]) => Digest::of(content).as_bytes().to_vec(),
        ("content-tag", &[key, content]) => content_tag(&tag_key(key)?, &Digest::of(content)).to_vec(),
        ("name-tag", &[key, name]) => name_tag(&tag_key(key)?, name).to_vec(),
        ("seal-blob", &[key, header, plain]) => seal_blob(&file_key(key)?, &stream_header(header)?, plain)?,
        ("open-blob", &[key, header, sealed]) => open_blob(&file_key(key)?, &stream_header(header)?, sealed)?,
        _ => return Err(format!("`{verb}` with {} arguments is unknown", args.len()).into()),
    })
}

fn collection_key(bytes: &[u8]) -> Result<CollectionKey, Box<dyn Error>> {
    Ok(CollectionKey::from_bytes(bytes.try_into()?))
}

fn file_key(bytes: &[u8]) -> Result<FileKey, Box<dyn Error>> {
    Ok(FileKey::from_bytes(bytes.try_into()?))
}

fn tag_key(bytes: &[u8]) -> Result<TagKey, Box<dyn Error>> {
    Ok(TagKey::from_bytes(bytes.try_into()?))
}

fn stream_header(bytes: &[u8]) -> Result<StreamHeader, Box<dyn Error>> {
    Ok(StreamHeader::from_bytes(bytes.try_into()?))
}
