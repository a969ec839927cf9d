//! What the rows of the database say, and the checksums that find a row which no longer says it.

use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

use crate::state::{FIRST_REVISION, State};
use crate::{Event, EventChange};

const PUT: i64 = 1;
const DELETE: i64 = 2;

/// How far everything is; kept in one row of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The newest revision ever written.
    pub(crate) newest: u64,
    /// How many keys there are.
    pub(crate) living: u64,
    /// History up to here was given up on request.
    pub(crate) floor: u64,
    /// All rows no longer needed because of compaction are gone up to here.
    pub(crate) cleaned: u64,
}

impl Progress {
    pub(crate) const INITIAL: Self = Self {
        newest: FIRST_REVISION,
        living: 0,
        floor: FIRST_REVISION,
        cleaned: FIRST_REVISION,
    };

    fn checksum(self) -> i64 {
        let Self {
            newest,
            living,
            floor,
            cleaned,
        } = self;
        let mut sum = Checksum::new();
        [newest, living, floor, cleaned]
            .iter()
            .for_each(|number| sum.add(&number.to_le_bytes()));
        sum.finish()
    }

    pub(crate) fn write(self, connection: &Connection) -> rusqlite::Result<()> {
        let Self {
            newest,
            living,
            floor,
            cleaned,
        } = self;
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO progress (id, newest, living, floor, cleaned, checksum) \
                 VALUES (1, ?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![newest, living, floor, cleaned, self.checksum()])
            .map(|_| ())
    }

    /// `None` if the row is missing or damaged.
    pub(crate) fn read(connection: &Connection) -> rusqlite::Result<Option<Self>> {
        let columns = "SELECT newest, living, floor, cleaned, checksum FROM progress WHERE id = 1";
        let row = connection.query_row(columns, [], |row| {
            let progress = Self {
                newest: row.get(0)?,
                living: row.get(1)?,
                floor: row.get(2)?,
                cleaned: row.get(3)?,
            };
            Ok((progress, row.get::<_, i64>(4)?))
        });
        let whole = row
            .optional()?
            .filter(|(progress, checksum)| progress.checksum() == *checksum);
        Ok(whole.map(|(progress, _)| progress))
    }
}

/// FNV-1a's step over words of eight bytes: it is to find decay, not malice. Each step is a bijection, so a change within
/// one word is always found.
#[derive(Debug)]
struct Checksum(u64);

impl Checksum {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn step(&mut self, word: u64) {
        self.0 = (self.0 ^ word)
            .wrapping_mul(0x0100_0000_01b3)
            .rotate_left(29);
    }

    fn add(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.step(u64::from_le_bytes(*word));
        }
        let last = rest
            .iter()
            .fold(0, |word, byte| (word << 8) | u64::from(*byte));
        self.step(last);
        self.step(bytes.len() as u64);
    }

    /// As SQLite stores it, signed.
    fn finish(self) -> i64 {
        self.0.cast_signed()
    }
}

/// One row of the table, its value borrowed or owned.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    pub(crate) revision: u64,
    pub(crate) operation: i64,
    pub(crate) key: std::borrow::Cow<'a, str>,
    pub(crate) created: u64,
    pub(crate) previous: Option<u64>,
    pub(crate) value: Option<std::borrow::Cow<'a, [u8]>>,
}

impl<'a> Row<'a> {
    pub(crate) fn of(event: &'a Event) -> Self {
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

    pub(crate) fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<(Row<'static>, i64)> {
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

    /// Over every column.
    pub(crate) fn checksum(&self) -> i64 {
        let mut sum = Checksum::new();
        sum.add(&self.revision.to_le_bytes());
        sum.add(&self.operation.to_le_bytes());
        sum.add(&self.created.to_le_bytes());
        sum.add(&self.previous.unwrap_or(0).to_le_bytes());
        sum.add(&(self.key.len() as u64).to_le_bytes());
        sum.add(self.key.as_bytes());
        sum.add(self.value.as_deref().unwrap_or_default());
        sum.finish()
    }

    pub(crate) fn into_event(
        self,
        checksum: i64,
        state: &State,
        cleaned: u64,
    ) -> Result<Event, String> {
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
