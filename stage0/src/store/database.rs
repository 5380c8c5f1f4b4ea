//! What the image store knows about images beyond their bytes.
//!
//! Responsible for: rows on images and on the URLs they came from, changed only in transactions. Must not know: blobs,
//! manifests. Follows rkt-reference.md 2.9 (tables `aciinfo`, `remote`, `version`) and 2.4 (the lock on `cas/db`).

use std::collections::HashSet;
use std::fs::File;
use std::path::PathBuf;

use redb::{ReadableDatabase, ReadableTable, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::key_lock::{KeyLock, LockKind};
use super::permissions::{SHARED_DIRECTORY, share};
use super::rows::{ImageInfo, Remote};
use super::temporary::{make_directory_durably, sync_directory};
use super::{Key, StoreError};
use crate::fault;

/// Version of the tables below. A database with a higher one is left alone.
const SCHEMA: u64 = 1;
const FILE_NAME: &str = "images.redb";
const UNFINISHED_NAME: &str = "images.redb.new";

const VERSION: TableDefinition<'_, &str, u64> = TableDefinition::new("version");
/// Key to JSON of [`ImageInfo`]. JSON so that a field can be added without a migration.
const IMAGES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("aciinfo");
/// URL to JSON of [`Remote`].
const REMOTES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("remote");

/// The database below one `cas/db`. It is opened for each transaction and closed after it, so that no process keeps
/// others waiting.
#[derive(Debug)]
pub(super) struct Database {
    directory: PathBuf,
}

impl Database {
    /// Does not touch the disk yet.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// All images, by key.
    pub fn images(&self) -> Result<Vec<ImageInfo>, StoreError> {
        self.images_with_prefix("")
    }

    /// Images whose key begins with `prefix`, by key.
    pub fn images_with_prefix(&self, prefix: &str) -> Result<Vec<ImageInfo>, StoreError> {
        self.read(|snapshot| {
            let mut images = Vec::new();
            let Some(table) = self.table(snapshot, IMAGES)? else { return Ok(images) };
            for row in table.range(prefix..).map_err(|e| self.error(e))? {
                let (key, value) = row.map_err(|e| self.error(e))?;
                if !key.value().starts_with(prefix) {
                    break;
                }
                images.push(self.decode(value.value())?);
            }
            Ok(images)
        })
        .map(Option::unwrap_or_default)
    }

    /// The image `key`.
    pub fn image(&self, key: &Key) -> Result<Option<ImageInfo>, StoreError> {
        self.read(|snapshot| self.get(snapshot, IMAGES, key.as_str())).map(Option::flatten)
    }

    /// Adds or replaces an image. `row` gets the row that there was.
    pub fn record_image(
        &self,
        key: &Key,
        row: impl FnOnce(Option<ImageInfo>) -> ImageInfo,
    ) -> Result<(), StoreError> {
        self.write(|transaction| {
            let before = self.row::<ImageInfo>(transaction, IMAGES, key.as_str())?;
            self.insert(transaction, IMAGES, key.as_str(), &row(before))
        })
    }

    /// Changes an image's row; nothing happens if there is none.
    pub fn update_image(&self, key: &Key, change: impl FnOnce(&mut ImageInfo)) -> Result<(), StoreError> {
        self.write(|transaction| match self.row::<ImageInfo>(transaction, IMAGES, key.as_str())? {
            Some(mut image) => {
                change(&mut image);
                self.insert(transaction, IMAGES, key.as_str(), &image)
            }
            None => Ok(()),
        })
    }

    /// Removes an image and what is known of the URLs it came from. False if there was no such image.
    pub fn remove_image(&self, key: &Key) -> Result<bool, StoreError> {
        self.write(|transaction| {
            let found = {
                let mut images = transaction.open_table(IMAGES).map_err(|e| self.error(e))?;
                images.remove(key.as_str()).map_err(|e| self.error(e))?.is_some()
            };
            self.retain_remotes(transaction, |remote| remote.blob_key != *key)?;
            Ok(found)
        })
    }

    /// Removes what is known of URLs whose image is gone.
    pub fn remove_stale_remotes(&self) -> Result<(), StoreError> {
        self.write(|transaction| {
            let images = {
                let table = transaction.open_table(IMAGES).map_err(|e| self.error(e))?;
                let keys = table.iter().map_err(|e| self.error(e))?;
                keys.map(|row| row.map(|(key, _)| key.value().to_owned()).map_err(|e| self.error(e)))
                    .collect::<Result<HashSet<String>, _>>()?
            };
            self.retain_remotes(transaction, |remote| images.contains(remote.blob_key.as_str()))
        })
    }

    /// All that is known of URLs.
    pub fn remotes(&self) -> Result<Vec<Remote>, StoreError> {
        self.read(|snapshot| {
            let Some(table) = self.table(snapshot, REMOTES)? else { return Ok(Vec::new()) };
            let rows = table.iter().map_err(|e| self.error(e))?;
            rows.map(|row| self.decode(row.map_err(|e| self.error(e))?.1.value())).collect()
        })
        .map(Option::unwrap_or_default)
    }

    /// What is known of a URL, and of its image.
    pub fn remote(&self, url: &str) -> Result<Option<(Remote, ImageInfo)>, StoreError> {
        self.read(|snapshot| {
            let Some(remote) = self.get::<Remote>(snapshot, REMOTES, url)? else { return Ok(None) };
            let image = self.get(snapshot, IMAGES, remote.blob_key.as_str())?;
            Ok(image.map(|image| (remote, image)))
        })
        .map(Option::flatten)
    }

    /// Adds or replaces what is known of a URL.
    pub fn put_remote(&self, remote: &Remote) -> Result<(), StoreError> {
        self.write(|transaction| self.insert(transaction, REMOTES, &remote.aci_url, remote))
    }

    fn path(&self) -> PathBuf {
        self.directory.join(FILE_NAME)
    }

    fn error(&self, error: impl Into<redb::Error>) -> StoreError {
        StoreError::Database { path: self.path(), reason: error.into().to_string() }
    }

    fn decode<T: DeserializeOwned>(&self, row: &[u8]) -> Result<T, StoreError> {
        serde_json::from_slice(row).map_err(|e| StoreError::Database {
            path: self.path(),
            reason: format!("a row is malformed: {e}"),
        })
    }

    fn insert<T: Serialize>(
        &self,
        transaction: &redb::WriteTransaction,
        table: TableDefinition<'_, &str, &[u8]>,
        key: &str,
        row: &T,
    ) -> Result<(), StoreError> {
        let text = serde_json::to_vec(row)
            .map_err(|e| StoreError::Database { path: self.path(), reason: e.to_string() })?;
        let mut table = transaction.open_table(table).map_err(|e| self.error(e))?;
        table.insert(key, text.as_slice()).map_err(|e| self.error(e))?;
        Ok(())
    }

    fn row<T: DeserializeOwned>(
        &self,
        transaction: &redb::WriteTransaction,
        table: TableDefinition<'_, &str, &[u8]>,
        key: &str,
    ) -> Result<Option<T>, StoreError> {
        let table = transaction.open_table(table).map_err(|e| self.error(e))?;
        let value = table.get(key).map_err(|e| self.error(e))?;
        value.map(|value| self.decode(value.value())).transpose()
    }

    /// Keeps the rows on URLs that `keep` says yes to. A row that cannot be read is dropped: it says nothing.
    fn retain_remotes(
        &self,
        transaction: &redb::WriteTransaction,
        keep: impl Fn(&Remote) -> bool,
    ) -> Result<(), StoreError> {
        let mut remotes = transaction.open_table(REMOTES).map_err(|e| self.error(e))?;
        remotes.retain(|_, row| self.decode(row).is_ok_and(|remote| keep(&remote))).map_err(|e| self.error(e))
    }

    fn get<T: DeserializeOwned>(
        &self,
        snapshot: &redb::ReadTransaction,
        table: TableDefinition<'static, &'static str, &'static [u8]>,
        key: &str,
    ) -> Result<Option<T>, StoreError> {
        let Some(table) = self.table(snapshot, table)? else { return Ok(None) };
        let value = table.get(key).map_err(|e| self.error(e))?;
        value.map(|value| self.decode(value.value())).transpose()
    }

    /// `None` until something was written to the table.
    fn table(
        &self,
        snapshot: &redb::ReadTransaction,
        table: TableDefinition<'static, &'static str, &'static [u8]>,
    ) -> Result<Option<redb::ReadOnlyTable<&'static str, &'static [u8]>>, StoreError> {
        match snapshot.open_table(table) {
            Ok(table) => Ok(Some(table)),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            Err(e) => Err(self.error(e)),
        }
    }

    /// Reads what one transaction left; `None` if there is no database yet.
    fn read<T>(
        &self,
        act: impl FnOnce(&redb::ReadTransaction) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        if !self.path().exists() {
            return Ok(None);
        }
        let lock = KeyLock::directory(&self.directory, LockKind::Shared)?;
        let database = match redb::ReadOnlyDatabase::open(self.path()) {
            Ok(database) => database,
            // Whoever wrote it last was killed meanwhile. Opening it for writing repairs it.
            Err(redb::DatabaseError::RepairAborted) => {
                drop(lock);
                self.write(|_| Ok(()))?;
                return self.read(act);
            }
            Err(e) => return Err(self.error(e)),
        };
        let snapshot = database.begin_read().map_err(|e| self.error(e))?;
        let version = snapshot.open_table(VERSION).map_err(|e| self.error(e))?;
        self.check_schema(version.get("schema").map_err(|e| self.error(e))?.map(|version| version.value()))?;
        act(&snapshot).map(Some)
    }

    /// Runs `act` in a transaction that is on disk when this returns, or undone if `act` fails.
    fn write<T>(
        &self,
        act: impl FnOnce(&redb::WriteTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        make_directory_durably(&self.directory, SHARED_DIRECTORY)?;
        let _lock = KeyLock::directory(&self.directory, LockKind::Exclusive)?;
        if !self.path().exists() {
            self.create()?;
        }
        let database = redb::Database::open(self.path()).map_err(|e| self.error(e))?;
        let transaction = database.begin_write().map_err(|e| self.error(e))?;
        {
            let version = transaction.open_table(VERSION).map_err(|e| self.error(e))?;
            let found = version.get("schema").map_err(|e| self.error(e))?.map(|version| version.value());
            self.check_schema(found)?;
        }
        let result = act(&transaction)?;
        fault::point("database.changed");
        transaction.commit().map_err(|e| self.error(e))?;
        Ok(result)
    }

    /// Makes an empty database. It gets its name when it is whole: a file that its maker was killed over is no
    /// database, and every later command would fail on it.
    fn create(&self) -> Result<(), StoreError> {
        let unfinished = self.directory.join(UNFINISHED_NAME);
        match std::fs::remove_file(&unfinished) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::file("remove", &unfinished)(e));
            }
            _ => {}
        }
        let database = redb::Database::create(&unfinished).map_err(|e| self.error(e))?;
        fault::point("database.made");
        let transaction = database.begin_write().map_err(|e| self.error(e))?;
        {
            let mut version = transaction.open_table(VERSION).map_err(|e| self.error(e))?;
            version.insert("schema", SCHEMA).map_err(|e| self.error(e))?;
        }
        transaction.commit().map_err(|e| self.error(e))?;
        drop(database);
        let file = File::open(&unfinished).map_err(StoreError::file("open", &unfinished))?;
        share(&file, &unfinished)?;
        fault::point("database.whole");
        std::fs::rename(&unfinished, self.path()).map_err(StoreError::file("create", self.path()))?;
        fault::point("database.renamed");
        sync_directory(&self.directory)
    }

    fn check_schema(&self, found: Option<u64>) -> Result<(), StoreError> {
        match found {
            Some(found) if found > SCHEMA => Err(StoreError::NewerSchema { found, known: SCHEMA }),
            _ => Ok(()),
        }
    }
}
