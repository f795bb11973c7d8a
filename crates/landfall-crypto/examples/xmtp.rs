//! Seals and opens attachments for messages, and writes and reads the messages: `cargo run --example xmtp -- VERB
//! ARGUMENT...`.
//!
//! Secrets are a *record* (salt, nonce, secret) in hexadecimal digits, as messages are. Like `stream`, it is how other
//! implementations are compared with this one: see `tests/peers`. `speed` seals and opens so many GiB in memory, for
//! `time`.

use std::{
    error::Error,
    fs::File,
    io::{BufWriter, Read, Write},
};

use landfall_crypto::xmtp::{
    AttachmentHeader, AttachmentOpener, AttachmentSecrets, Content, ContentDigest, MultiRemoteAttachment,
    PAYLOAD_LEN_MAX, PayloadOpener, PayloadSealer, RemoteAttachment, encode_text,
};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    println!("{}", answer(&args)?);
    Ok(())
}

fn answer(args: &[&str]) -> Result<String, Box<dyn Error>> {
    Ok(match args {
        ["seal", record, filename, mime_type, source, target] => seal(record, filename, mime_type, source, target)?,
        ["open", record, digest, source, target] => open(record, digest, source, target)?,
        ["remote", one @ ..] => hex::encode(&*remote(one)?.encode()?),
        ["multi", several @ ..] => {
            let attachments = several.chunks(5).map(remote).collect::<Result<_, _>>()?;
            hex::encode(&*MultiRemoteAttachment::new(attachments)?.encode()?)
        }
        ["text", text] => hex::encode(encode_text(text)?),
        ["read", message] => read(&hex::decode(message)?)?,
        ["speed", verb, gib] => speed(verb, gib.parse()?)?,
        _ => return Err("usage: xmtp seal|open|remote|multi|text|read|speed ARGUMENT...".into()),
    })
}

/// Answers with the digest and the length of the payload.
fn seal(record: &str, filename: &str, mime_type: &str, source: &str, target: &str) -> Result<String, Box<dyn Error>> {
    let mut source = File::open(source)?;
    let mut target = BufWriter::new(File::create(target)?);
    let header = AttachmentHeader::new(filename, mime_type, source.metadata()?.len())?;
    let (mut sealer, sealed_header) = PayloadSealer::of_attachment(&secrets(record)?, &header);
    target.write_all(&sealed_header)?;
    let mut buffer = vec![0; PIECE_LEN];
    loop {
        let len = source.read(&mut buffer)?;
        if len == 0 {
            break;
        }
        sealer.update(&mut buffer[..len])?;
        target.write_all(&buffer[..len])?;
    }
    let (tag, digest) = sealer.finish()?;
    target.write_all(&tag)?;
    target.flush()?;
    Ok(format!("{digest}\t{}", header.payload_len()))
}

/// Answers with the name and the kind of the file.
fn open(record: &str, digest: &str, source: &str, target: &str) -> Result<String, Box<dyn Error>> {
    let mut source = File::open(source)?;
    let staging = format!("{target}.staging");
    let mut file = BufWriter::new(File::create(&staging)?);
    let mut opener = AttachmentOpener::new(&secrets(record)?, digest.parse()?, PAYLOAD_LEN_MAX);
    let mut buffer = vec![0; PIECE_LEN];
    loop {
        let len = source.read(&mut buffer)?;
        if len == 0 {
            break;
        }
        file.write_all(opener.update(&mut buffer[..len])?.for_staging())?;
    }
    let attachment = opener.finish()?;
    file.flush()?;
    std::fs::rename(staging, target)?;
    Ok(format!("{}\t{}", attachment.filename.unwrap_or_default(), attachment.mime_type.unwrap_or_default()))
}

fn remote(args: &[&str]) -> Result<RemoteAttachment, Box<dyn Error>> {
    let &[url, digest, record, payload_len, filename] = args else {
        return Err("an attachment is URL DIGEST RECORD LENGTH FILENAME".into());
    };
    Ok(RemoteAttachment::new(url, digest.parse()?, secrets(record)?, payload_len.parse()?, filename)?)
}

/// Answers with what the message is, or with a line for each attachment it tells of.
fn read(message: &[u8]) -> Result<String, Box<dyn Error>> {
    Ok(match Content::decode(message)? {
        Content::Text(text) => format!("text\t{text}"),
        Content::Attachment { attachment, .. } => format!("attachment\t{}", attachment.filename.unwrap_or_default()),
        Content::RemoteAttachment(one) => line(&one),
        Content::MultiRemoteAttachment(several) => {
            several.attachments().iter().map(line).collect::<Vec<_>>().join("\n")
        }
        Content::Other { content_type, .. } => format!("other\t{content_type}"),
        _ => "something new".to_owned(),
    })
}

fn line(remote: &RemoteAttachment) -> String {
    let payload_len = remote.payload_len().map_or_else(|| "unknown".to_owned(), |len| len.to_string());
    let record = hex::encode(&*remote.secrets().to_record());
    let filename = remote.filename().unwrap_or_default();
    format!("{}\t{}\t{record}\t{payload_len}\t{filename}", remote.url(), remote.digest())
}

fn speed(verb: &str, gib: u64) -> Result<String, Box<dyn Error>> {
    let secrets = AttachmentSecrets::new([1; 32], [2; 32], [3; 12]);
    let (mut buffer, pieces) = (vec![7; PIECE_LEN], (gib << 30) / PIECE_LEN as u64);
    if verb == "seal" {
        let mut sealer = PayloadSealer::new(&secrets, gib << 30)?;
        (0..pieces).try_for_each(|_| sealer.update(&mut buffer))?;
        let (_, digest) = sealer.finish()?;
        Ok(digest.to_string())
    } else {
        let mut opener = PayloadOpener::new(&secrets, ContentDigest::from_bytes([0; 32]), gib << 30);
        (0..pieces).try_for_each(|_| opener.update(&mut buffer).map(|_| ()))?;
        Ok(format!("as it must be: {:?}", opener.finish()))
    }
}

fn secrets(record: &str) -> Result<AttachmentSecrets, Box<dyn Error>> {
    Ok(AttachmentSecrets::from_record(&hex::decode(record)?)?)
}

const PIECE_LEN: usize = 64 << 10;
