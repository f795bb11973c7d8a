//! File records as rows.

use landfall_protocol::{Base64, FileRecord, MagicMetadata, NewFile, SealedMetadata, SealedObject};
use rusqlite::{OptionalExtension as _, Row, named_params};

use crate::{account::Account, database::Transaction};

/// What [`from_row`] reads, in its order.
pub(crate) const COLUMNS: &str = "id, account, collection, updation_time, is_deleted, encrypted_key, key_nonce, \
     file_key, file_header, file_size, thumbnail_key, thumbnail_header, thumbnail_size, metadata, metadata_header, \
     public_version, public_count, public_data, public_header, magic_version, magic_count, magic_data, magic_header, \
     content_tag";

pub(crate) fn from_row(row: &Row<'_>) -> rusqlite::Result<FileRecord> {
    let bytes = |column| row.get::<_, Vec<u8>>(column).map(Base64);
    let object = |column| {
        Ok::<_, rusqlite::Error>(SealedObject {
            object_key: row.get(column)?,
            decryption_header: bytes(column + 1)?,
            size: row.get::<_, i64>(column + 2)?.cast_unsigned(),
        })
    };
    let magic = |column| match row.get::<_, Option<u32>>(column)? {
        None => Ok::<_, rusqlite::Error>(None),
        Some(version) => Ok(Some(MagicMetadata {
            version,
            count: row.get(column + 1)?,
            data: bytes(column + 2)?,
            header: bytes(column + 3)?,
        })),
    };
    Ok(FileRecord {
        id: row.get(0)?,
        owner_id: row.get(1)?,
        updation_time: row.get(3)?,
        is_deleted: row.get(4)?,
        file: NewFile {
            collection_id: row.get(2)?,
            encrypted_key: bytes(5)?,
            key_decryption_nonce: bytes(6)?,
            file: object(7)?,
            thumbnail: object(10)?,
            metadata: SealedMetadata { encrypted_data: bytes(13)?, decryption_header: bytes(14)? },
            pub_magic_metadata: magic(15)?,
            magic_metadata: magic(19)?,
            content_tag: row.get::<_, Option<Vec<u8>>>(23)?.map(Base64),
        },
    })
}

/// About how many bytes a record takes as JSON; never less than it does.
pub(crate) fn json_bytes(record: &FileRecord) -> usize {
    /// Names, numbers, keys, nonces and headers.
    const REST: usize = 2000;
    let file = &record.file;
    let magic = [&file.pub_magic_metadata, &file.magic_metadata].into_iter().flatten().map(|magic| magic.data.0.len());
    let sealed = file.metadata.encrypted_data.0.len() + magic.sum::<usize>();
    sealed.div_ceil(3) * 4 + REST
}

/// A record of the account, removed or not.
pub(crate) fn select(transaction: &Transaction<'_>, account: Account, id: i64) -> rusqlite::Result<Option<FileRecord>> {
    transaction
        .prepare_cached(&format!("SELECT {COLUMNS} FROM file WHERE account = ?1 AND id = ?2"))?
        .query_row((account.0, id), from_row)
        .optional()
}

pub(crate) fn insert(
    transaction: &Transaction<'_>,
    account: Account,
    new: &NewFile,
    body_hash: &[u8; 32],
    updation_time: i64,
) -> rusqlite::Result<FileRecord> {
    let public = new.pub_magic_metadata.as_ref();
    let magic = new.magic_metadata.as_ref();
    transaction
        .prepare_cached(&format!(
            "INSERT INTO file (account, collection, updation_time, body_hash, encrypted_key, key_nonce, file_key,
                file_header, file_size, thumbnail_key, thumbnail_header, thumbnail_size, metadata, metadata_header,
                public_version, public_count, public_data, public_header,
                magic_version, magic_count, magic_data, magic_header, content_tag)
             VALUES (:account, :collection, :updation_time, :body_hash, :key, :key_nonce, :file_key,
                :file_header, :file_size, :thumbnail_key, :thumbnail_header, :thumbnail_size, :metadata, :metadata_header,
                :public_version, :public_count, :public_data, :public_header,
                :magic_version, :magic_count, :magic_data, :magic_header, :content_tag)
             RETURNING {COLUMNS}"
        ))?
        .query_row(
            named_params! {
                ":account": account.0,
                ":collection": new.collection_id,
                ":updation_time": updation_time,
                ":body_hash": body_hash,
                ":key": new.encrypted_key.0,
                ":key_nonce": new.key_decryption_nonce.0,
                ":file_key": new.file.object_key,
                ":file_header": new.file.decryption_header.0,
                ":file_size": new.file.size.cast_signed(),
                ":thumbnail_key": new.thumbnail.object_key,
                ":thumbnail_header": new.thumbnail.decryption_header.0,
                ":thumbnail_size": new.thumbnail.size.cast_signed(),
                ":metadata": new.metadata.encrypted_data.0,
                ":metadata_header": new.metadata.decryption_header.0,
                ":public_version": public.map(|magic| magic.version),
                ":public_count": public.map(|magic| magic.count),
                ":public_data": public.map(|magic| &magic.data.0),
                ":public_header": public.map(|magic| &magic.header.0),
                ":magic_version": magic.map(|magic| magic.version),
                ":magic_count": magic.map(|magic| magic.count),
                ":magic_data": magic.map(|magic| &magic.data.0),
                ":magic_header": magic.map(|magic| &magic.header.0),
                ":content_tag": new.content_tag.as_ref().map(|tag| &tag.0),
            },
            from_row,
        )
}
