//! The file: one SQLite table of revisions, from which the whole state follows by reading it in order.
//!
//! A put or a delete is one row. An overwritten row stays until the row that overwrote it is compacted, so that every
//! event still kept knows the entry before it. Each row has a checksum, and the number of living keys is kept beside the
//! newest revision: a flipped bit or a lost row is found when the store is opened, not served.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};

use crate::state::{FIRST_REVISION, HistoryBounds, State};
use crate::{Event, EventChange, StoreError};

/// The newest layout this program knows; raised when a table changes its meaning.
pub(crate) const SCHEMA_VERSION: u64 = 1;
/// Marks the file as ours, in SQLite's header ("anyv").
const APPLICATION_ID: i64 = 0x616e_7976;
/// Larger than SQLite's default, so that a typical object (some KiB) fits one page.
const PAGE_BYTES: u64 = 8192;
/// Room above the quota that only deletes and compaction may use: a full store can still be emptied.
const RESERVE_PAGES: u64 = 256;
/// The write-ahead log is cut back to this after a burst.
const WAL_KEPT_BYTES: u64 = 64 << 20;

const PUT: i64 = 1;
const DELETE: i64 = 2;

const SCHEMA: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE revisions (
  revision INTEGER PRIMARY KEY,
  operation INTEGER NOT NULL,
  key TEXT NOT NULL,
  created INTEGER NOT NULL,
  previous INTEGER,
  checksum INTEGER NOT NULL,
  value BLOB
);
CREATE VIEW current AS
  SELECT revision, key, created, CAST(value AS TEXT) AS value FROM revisions
  WHERE operation = 1 AND revision NOT IN (SELECT previous FROM revisions WHERE previous IS NOT NULL);
";

/// Which space an append may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    /// Up to the quota.
    Quota,
    /// The reserve too.
    Reserve,
}

/// The open database. Only the writer thread has it.
#[derive(Debug)]
pub(crate) struct Database {
    connection: Connection,
    path: PathBuf,
    quota_pages: Option<u64>,
    cleaned: u64,
}

impl Database {
    /// Opens `path` (an existing file, empty for a new store) and reads everything in it.
    pub(crate) fn open(
        path: &Path,
        quota_bytes: Option<u64>,
        bounds: HistoryBounds,
    ) -> Result<(Self, State), StoreError> {
        let opening = |error: rusqlite::Error| opening_error(path, &error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags).map_err(opening)?;
        check_identity(&connection, path)?;
        configure(&connection).map_err(opening)?;
        prepare_schema(&mut connection, path)?;
        let mut database = Self {
            connection,
            path: path.to_path_buf(),
            quota_pages: quota_bytes.map(|bytes| bytes.div_ceil(PAGE_BYTES)),
            cleaned: 0,
        };
        let state = database.load(bounds)?;
        database.limit(Space::Quota).map_err(opening)?;
        Ok((database, state))
    }

    /// Writes a batch and returns when it is on disk. `living` is the number of keys after it.
    pub(crate) fn append(
        &mut self,
        events: &[Arc<Event>],
        living: usize,
        space: Space,
    ) -> Result<(), StoreError> {
        let appended = self.try_append(events, living, space);
        if space == Space::Reserve {
            self.limit(Space::Quota)
                .map_err(|error| self.writing_error(&error))?;
        }
        appended.map_err(|error| self.writing_error(&error))
    }

    fn try_append(
        &mut self,
        events: &[Arc<Event>],
        living: usize,
        space: Space,
    ) -> rusqlite::Result<()> {
        if space == Space::Reserve {
            self.limit(Space::Reserve)?;
        }
        let transaction = self.connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached(
                "INSERT INTO revisions (revision, operation, key, created, previous, checksum, value) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?;
            for event in events {
                let row = Row::of(event);
                insert.execute(params![
                    row.revision,
                    row.operation,
                    row.key,
                    row.created,
                    row.previous,
                    row.checksum(),
                    row.value,
                ])?;
            }
        }
        if let Some(last) = events.last() {
            set_meta(&transaction, "revision", last.revision)?;
        }
        set_meta(&transaction, "living", living as u64)?;
        transaction.commit()
    }

    /// Records that history up to `floor` is given up. The rows go later, by [`clean`](Self::clean).
    pub(crate) fn set_floor(&mut self, floor: u64) -> Result<(), StoreError> {
        set_meta(&self.connection, "floor", floor).map_err(|error| self.writing_error(&error))
    }

    /// All rows no longer needed because of compaction are gone up to this revision.
    pub(crate) fn cleaned(&self) -> u64 {
        self.cleaned
    }

    /// Removes rows that only events up to `through` needed. At most `slice` revisions at once, so that writers never
    /// wait long; call again until [`cleaned`](Self::cleaned) is `through`.
    pub(crate) fn clean(&mut self, through: u64, slice: u64) -> Result<(), StoreError> {
        let through = through.min(self.cleaned.saturating_add(slice));
        self.try_clean(through)
            .map_err(|error| self.writing_error(&error))?;
        self.cleaned = through;
        Ok(())
    }

    fn try_clean(&mut self, through: u64) -> rusqlite::Result<()> {
        let range = params![self.cleaned, through];
        let transaction = self.connection.transaction()?;
        transaction
            .prepare_cached(
                "DELETE FROM revisions WHERE revision IN (SELECT previous FROM revisions \
                 WHERE revision > ?1 AND revision <= ?2 AND previous IS NOT NULL)",
            )?
            .execute(range)?;
        transaction
            .prepare_cached(
                "DELETE FROM revisions WHERE revision > ?1 AND revision <= ?2 AND operation = 2",
            )?
            .execute(range)?;
        set_meta(&transaction, "cleaned", through)?;
        transaction.commit()?;
        // Gives pages back to the file system, a bounded number each time.
        self.connection
            .execute_batch("PRAGMA incremental_vacuum(256)")
    }

    fn limit(&self, space: Space) -> rusqlite::Result<()> {
        let Some(quota) = self.quota_pages else {
            return Ok(());
        };
        let pages = match space {
            Space::Quota => quota,
            Space::Reserve => quota + RESERVE_PAGES,
        };
        // SQLite never sets it below the present size, which is right: what is there stays.
        self.connection
            .pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
    }

    fn load(&mut self, bounds: HistoryBounds) -> Result<State, StoreError> {
        let opening = |error: rusqlite::Error| opening_error(&self.path, &error);
        let corrupt = |cause: String| StoreError::Corrupt {
            path: self.path.clone(),
            cause,
        };
        let meta = |name: &str| {
            get_meta(&self.connection, name)
                .map_err(opening)?
                .ok_or_else(|| corrupt(format!("table meta has no row {name:?}")))
        };
        let (newest, living, cleaned) = (meta("revision")?, meta("living")?, meta("cleaned")?);
        let floor = meta("floor")?.max(cleaned);
        let mut state = State::new(FIRST_REVISION);
        state.set_floor(floor);
        let mut last = FIRST_REVISION;
        let mut select = self
            .connection
            .prepare(
                "SELECT revision, operation, key, created, previous, value, checksum FROM revisions \
                 ORDER BY revision",
            )
            .map_err(opening)?;
        let mut rows = select.query([]).map_err(opening)?;
        while let Some(sqlite_row) = rows.next().map_err(opening)? {
            let (row, checksum) = Row::read(sqlite_row).map_err(opening)?;
            last = row.revision;
            let event = row
                .into_event(checksum, &state, cleaned)
                .map_err(|cause| corrupt(format!("revision {last}: {cause}")))?;
            if event.revision > floor {
                state.apply(&Arc::new(event));
                state.trim(bounds);
            } else {
                match event.entry() {
                    Some(entry) => state.set_entry(entry),
                    None => state.remove_entry(&event.key),
                }
            }
        }
        if last > newest {
            return Err(corrupt(format!(
                "revision {last} is newer than the newest, {newest}"
            )));
        }
        if state.len() as u64 != living {
            return Err(corrupt(format!(
                "it has {} keys where {living} were written",
                state.len()
            )));
        }
        drop(rows);
        drop(select);
        state.advance(newest.max(FIRST_REVISION));
        self.cleaned = cleaned;
        Ok(state)
    }

    fn writing_error(&self, error: &rusqlite::Error) -> StoreError {
        let path = self.path.clone();
        let cause = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => StoreError::Full { path, cause },
            _ => StoreError::Failed { path, cause },
        }
    }
}

/// One row of the table, its value borrowed or owned.
#[derive(Debug)]
struct Row<'a> {
    revision: u64,
    operation: i64,
    key: std::borrow::Cow<'a, str>,
    created: u64,
    previous: Option<u64>,
    value: Option<std::borrow::Cow<'a, [u8]>>,
}

impl<'a> Row<'a> {
    fn of(event: &'a Event) -> Self {
        let (operation, created, value) = match &event.change {
            EventChange::Put { value, created } => (PUT, *created, Some((&**value).into())),
            EventChange::Delete => (
                DELETE,
                event.previous.as_ref().map_or(0, |entry| entry.created),
                None,
            ),
        };
        let previous = event.previous.as_ref().map(|entry| entry.modified);
        Self {
            revision: event.revision,
            operation,
            key: (&*event.key).into(),
            created,
            previous,
            value,
        }
    }

    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<(Row<'static>, i64)> {
        let read = Row {
            revision: row.get(0)?,
            operation: row.get(1)?,
            key: row.get::<_, String>(2)?.into(),
            created: row.get(3)?,
            previous: row.get(4)?,
            value: row.get::<_, Option<Vec<u8>>>(5)?.map(Into::into),
        };
        Ok((read, row.get(6)?))
    }

    /// FNV-1a over every column: it is to find decay, not malice.
    fn checksum(&self) -> i64 {
        let mut sum = 0xcbf2_9ce4_8422_2325_u64;
        let mut add = |bytes: &[u8]| {
            for byte in bytes {
                sum = (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        };
        add(&self.revision.to_le_bytes());
        add(&self.operation.to_le_bytes());
        add(&self.created.to_le_bytes());
        add(&self.previous.unwrap_or(0).to_le_bytes());
        add(&(self.key.len() as u64).to_le_bytes());
        add(self.key.as_bytes());
        add(self.value.as_deref().unwrap_or_default());
        sum.cast_signed()
    }

    fn into_event(self, checksum: i64, state: &State, cleaned: u64) -> Result<Event, String> {
        if self.checksum() != checksum {
            return Err("its checksum doesn't match its contents".to_owned());
        }
        let previous = state.get(&self.key).cloned();
        let found = previous.as_ref().map(|entry| entry.modified);
        if self.revision > cleaned && found != self.previous {
            return Err(format!(
                "it follows revision {:?} but {found:?} was found",
                self.previous
            ));
        }
        let change = match (self.operation, self.value) {
            (PUT, Some(value)) => EventChange::Put {
                value: Bytes::from(value.into_owned()),
                created: self.created,
            },
            (DELETE, None) => EventChange::Delete,
            (operation, _) => return Err(format!("operation {operation} is unknown")),
        };
        let key = previous
            .as_ref()
            .map_or_else(|| Arc::from(&*self.key), |e| Arc::clone(&e.key));
        Ok(Event {
            revision: self.revision,
            key,
            change,
            previous,
        })
    }
}

fn set_meta(connection: &Connection, name: &str, value: u64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)")?
        .execute(params![name, value])
        .map(|_| ())
}

fn get_meta(connection: &Connection, name: &str) -> rusqlite::Result<Option<u64>> {
    connection
        .query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| {
            row.get(0)
        })
        .optional()
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(16);
    // page_size and auto_vacuum take effect only in a new file, before its first table.
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update_and_check(None, "journal_size_limit", WAL_KEPT_BYTES, |_| Ok(()))?;
    // All reads are served from our own memory; the page cache only serves the writer. In KiB.
    connection.pragma_update(None, "cache_size", -8192)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))
}

/// Refuses a file of somebody else, or of a newer version, before anything is changed in it.
fn check_identity(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let opening = |error: rusqlite::Error| opening_error(path, &error);
    let tables: u64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(opening)?;
    if tables == 0 {
        return Ok(());
    }
    let application: i64 = connection
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(opening)?;
    if application != APPLICATION_ID {
        let cause = format!("it belongs to another program (application id {application:#x})");
        return Err(StoreError::Corrupt {
            path: path.to_path_buf(),
            cause,
        });
    }
    let found = get_meta(connection, "schema_version")
        .map_err(opening)?
        .unwrap_or(0);
    if found > SCHEMA_VERSION {
        let path = path.to_path_buf();
        return Err(StoreError::Newer {
            path,
            found,
            supported: SCHEMA_VERSION,
        });
    }
    Ok(())
}

fn prepare_schema(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let create = |connection: &mut Connection| -> rusqlite::Result<()> {
        let transaction = connection.transaction()?;
        let tables: u64 =
            transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if tables == 0 {
            transaction.execute_batch(SCHEMA)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            let initial = [
                ("schema_version", SCHEMA_VERSION),
                ("revision", FIRST_REVISION),
                ("living", 0),
                ("floor", FIRST_REVISION),
                ("cleaned", FIRST_REVISION),
            ];
            for (name, value) in initial {
                set_meta(&transaction, name, value)?;
            }
        }
        transaction.commit()
    };
    create(connection).map_err(|error| opening_error(path, &error))
}

fn opening_error(path: &Path, error: &rusqlite::Error) -> StoreError {
    let path = path.to_path_buf();
    let cause = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            StoreError::Corrupt { path, cause }
        }
        Some(ErrorCode::DiskFull) => StoreError::Full { path, cause },
        Some(_) => StoreError::Io { path, cause },
        // Not SQLite's words but rusqlite's: a column that doesn't hold what we wrote.
        None => StoreError::Corrupt { path, cause },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Entry;

    fn event(revision: u64, key: &str, value: &str, previous: Option<Entry>) -> Event {
        let created = previous.as_ref().map_or(revision, |entry| entry.created);
        let change = EventChange::Put {
            value: Bytes::copy_from_slice(value.as_bytes()),
            created,
        };
        Event {
            revision,
            key: Arc::from(key),
            change,
            previous,
        }
    }

    #[test]
    fn a_checksum_covers_every_column() {
        let plain = event(7, "/a", "1", None);
        let others = [
            event(8, "/a", "1", None),
            event(7, "/b", "1", None),
            event(7, "/a", "2", None),
            event(7, "/a1", "", None),
            event(7, "/a", "1", event(6, "/a", "0", None).entry()),
            Event {
                change: EventChange::Delete,
                ..plain.clone()
            },
        ];
        for other in others {
            assert_ne!(
                Row::of(&plain).checksum(),
                Row::of(&other).checksum(),
                "{other:?}"
            );
        }
    }
}
