//! The ring of a virtual machine's automatic snapshots: `every=1m,keep=5`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::names::annotations;

/// The shortest time between two snapshots: each stops the guest for a moment, and writes its whole memory.
pub const SHORTEST: Duration = Duration::from_secs(10);
/// The longest one.
pub const LONGEST: Duration = Duration::from_secs(86_400);
/// The most snapshots of one machine that are kept: each takes as much disk as the guest has used of its memory.
pub const MOST: u32 = 60;

/// What a machine asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ring {
    /// From one snapshot to the next.
    pub every: Duration,
    /// How many are kept.
    pub keep: u32,
}

/// The ring that an object's annotations ask for; `None` where they ask for none.
///
/// # Errors
/// What is wrong with it, and what may be written.
pub fn asked(annotations: &BTreeMap<String, String>) -> Result<Option<Ring>, String> {
    let Some(text) = annotations.get(annotations::SNAPSHOT_RING) else {
        return Ok(None);
    };
    parse(text).map(Some).map_err(|why| {
        format!(
            "\"{}\" is no value for {}: {why}; write e.g. every=1m,keep=5, or remove it",
            text.escape_debug(),
            annotations::SNAPSHOT_RING
        )
    })
}

fn parse(text: &str) -> Result<Ring, String> {
    let (mut every, mut keep) = (None, None);
    for part in text.split(',') {
        let (name, value) = part
            .trim()
            .split_once('=')
            .ok_or_else(|| format!("\"{}\" is no NAME=VALUE", part.escape_debug()))?;
        match name {
            "every" if every.is_none() => {
                let bounds = SHORTEST..=LONGEST;
                let read = super::parse_duration(value).filter(|it| bounds.contains(it));
                every = Some(read.ok_or_else(|| "every is a time from 10s to 24h".to_owned())?);
            }
            "keep" if keep.is_none() => {
                let read = value.parse().ok().filter(|it| (1..=MOST).contains(it));
                keep = Some(read.ok_or_else(|| format!("keep is a number from 1 to {MOST}"))?);
            }
            "every" | "keep" => return Err(format!("{name} is there twice")),
            _ => return Err(format!("{} is neither every nor keep", name.escape_debug())),
        }
    }
    Ok(Ring {
        every: every.ok_or("every is missing")?,
        keep: keep.ok_or("keep is missing")?,
    })
}
