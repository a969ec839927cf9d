//! The file: one SQLite table of revisions, from which the whole state follows by reading it in order.
//!
//! A put or a delete is one row. An overwritten row stays until the row that overwrote it is compacted, so that every
//! event still kept knows the entry before it. Each row has a checksum, and the number of living keys is kept beside the
//! newest revision: a flipped bit or a lost row is found when the store is opened, not served.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};

use crate::record::{Progress, Row};
use crate::state::{FIRST_REVISION, HistoryBounds, State};
use crate::{Event, StoreError};

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

const SCHEMA: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE progress (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  newest INTEGER NOT NULL,
  living INTEGER NOT NULL,
  floor INTEGER NOT NULL,
  cleaned INTEGER NOT NULL,
  checksum INTEGER NOT NULL
);
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
    progress: Progress,
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
            progress: Progress::INITIAL,
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
        let newest = events
            .last()
            .map_or(self.progress.newest, |last| last.revision);
        let progress = Progress {
            newest,
            living: living as u64,
            ..self.progress
        };
        progress.write(&transaction)?;
        transaction.commit()?;
        self.progress = progress;
        Ok(())
    }

    /// Records that history up to `floor` is given up. The rows go later, by [`clean`](Self::clean).
    pub(crate) fn set_floor(&mut self, floor: u64) -> Result<(), StoreError> {
        let progress = Progress {
            floor,
            ..self.progress
        };
        progress
            .write(&self.connection)
            .map_err(|error| self.writing_error(&error))?;
        self.progress = progress;
        Ok(())
    }

    /// All rows no longer needed because of compaction are gone up to this revision.
    pub(crate) fn cleaned(&self) -> u64 {
        self.progress.cleaned
    }

    /// Removes rows that only events up to `through` needed. At most `slice` revisions at once, so that writers never
    /// wait long; call again until [`cleaned`](Self::cleaned) is `through`.
    pub(crate) fn clean(&mut self, through: u64, slice: u64) -> Result<(), StoreError> {
        let through = through.min(self.progress.cleaned.saturating_add(slice));
        self.try_clean(through)
            .map_err(|error| self.writing_error(&error))
    }

    fn try_clean(&mut self, through: u64) -> rusqlite::Result<()> {
        let range = params![self.progress.cleaned, through];
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
        let progress = Progress {
            cleaned: through,
            ..self.progress
        };
        progress.write(&transaction)?;
        transaction.commit()?;
        self.progress = progress;
        // Gives pages back to the file system, a bounded number each time.
        self.connection
            .execute_batch("PRAGMA incremental_vacuum(256)")
    }

    /// Puts the write-ahead log into the database and cuts it to nothing. Failing is harmless: the log stays then.
    pub(crate) fn fold_log(&self) {
        let folded = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        if let Err(error) = folded {
            tracing::warn!(%error, "the write-ahead log could not be folded into the database");
        }
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
        let progress = Progress::read(&self.connection)
            .map_err(opening)?
            .ok_or_else(|| corrupt("the row of table progress is missing or damaged".to_owned()))?;
        let Progress {
            newest,
            living,
            floor,
            cleaned,
        } = progress;
        let floor = floor.max(cleaned);
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
        self.progress = progress;
        Ok(state)
    }

    fn writing_error(&self, error: &rusqlite::Error) -> StoreError {
        let path = self.path.clone();
        let cause = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => StoreError::Full { path, cause },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                StoreError::Busy { path, cause }
            }
            _ => StoreError::Failed { path, cause },
        }
    }
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
    let version = "SELECT value FROM meta WHERE name = 'schema_version'";
    let found: Option<u64> = connection
        .query_row(version, [], |row| row.get(0))
        .optional()
        .map_err(opening)?;
    let path = path.to_path_buf();
    match found {
        Some(SCHEMA_VERSION) => Ok(()),
        Some(found) if found > SCHEMA_VERSION => Err(StoreError::Newer {
            path,
            found,
            supported: SCHEMA_VERSION,
        }),
        _ => Err(StoreError::Corrupt {
            path,
            cause: format!("schema version {found:?}"),
        }),
    }
}

fn prepare_schema(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let create = |connection: &mut Connection| -> rusqlite::Result<()> {
        let transaction = connection.transaction()?;
        let tables: u64 =
            transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if tables == 0 {
            transaction.execute_batch(SCHEMA)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.execute(
                "INSERT INTO meta (name, value) VALUES ('schema_version', ?1)",
                [SCHEMA_VERSION],
            )?;
            Progress::INITIAL.write(&transaction)?;
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
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            StoreError::Busy { path, cause }
        }
        // "malformed database schema" and the like have no code of their own.
        Some(ErrorCode::Unknown) => StoreError::Corrupt { path, cause },
        Some(_) => StoreError::Io { path, cause },
        // Not SQLite's words but rusqlite's: a column that doesn't hold what we wrote.
        None => StoreError::Corrupt { path, cause },
    }
}
