//! The network cards' addresses.

use super::sys::CardControl;
use crate::protocol::{Card, Mac};
use std::fs;
use std::io;
use std::path::Path;

/// `EBUSY`: the driver wants the card to be down.
const BUSY: i32 = 16;

/// A card of this machine.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Found {
    name: String,
    pub(super) mac: Mac,
}

/// Those cards that are devices: a bridge or a bond over one has the same address, and follows it.
pub(super) fn all(control: &CardControl) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    let folder = match fs::read_dir("/sys/class/net") {
        Ok(folder) => folder,
        // A kernel without a network.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    for entry in folder {
        let entry = entry?;
        if !is_device(&entry.path()) {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(mac) = control.mac(&name)? {
            found.push(Found {
                name,
                mac: Mac(mac),
            });
        }
    }
    Ok(found)
}

fn is_device(card: &Path) -> bool {
    card.join("device").exists()
}

/// For each of `cards` which of `found` is to get its new address; none: it has it already. Cards that are not named
/// keep theirs.
fn plan<'a>(cards: &[Card], found: &'a [Found]) -> Result<Vec<(Option<&'a str>, Mac)>, String> {
    let by_mac = |mac| found.iter().find(|card| card.mac == mac);
    cards
        .iter()
        .map(|card| match (by_mac(card.old), by_mac(card.new)) {
            // Told twice, or to keep its address.
            (_, Some(_)) => Ok((None, card.new)),
            (Some(card_found), None) => Ok((Some(card_found.name.as_str()), card.new)),
            (None, None) => Err(format!("no card has the address {}", card.old)),
        })
        .collect()
}

/// Those of the machine's cards that `cards` speak of. To ask for the ones that are `known` by their names takes less than
/// to look for all.
fn spoken_of(cards: &[Card], known: &[Found], control: &CardControl) -> io::Result<Vec<Found>> {
    let now = |card: &Found| {
        let mac = control.mac(&card.name).ok()??;
        let name = card.name.clone();
        Some(Found {
            name,
            mac: Mac(mac),
        })
    };
    let found: Vec<Found> = known.iter().filter_map(now).collect();
    let has = |mac| found.iter().any(|card| card.mac == mac);
    if cards.iter().all(|card| has(card.old) || has(card.new)) {
        return Ok(found);
    }
    all(control)
}

/// Gives each card its new address.
pub(super) fn set(cards: &[Card], known: &[Found]) -> Result<(), String> {
    if cards.is_empty() {
        return Ok(());
    }
    let told = |error: io::Error| error.to_string();
    let control = CardControl::open().map_err(told)?;
    let found = spoken_of(cards, known, &control).map_err(told)?;
    for (name, mac) in plan(cards, &found)? {
        let Some(name) = name else { continue };
        set_one(&control, name, mac).map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(())
}

fn set_one(control: &CardControl, name: &str, mac: Mac) -> io::Result<()> {
    match control.set_mac(name, mac.0) {
        Err(error) if error.raw_os_error() == Some(BUSY) && control.is_up(name)? => {
            control.set_up(name, false)?;
            let set = control.set_mac(name, mac.0);
            control.set_up(name, true)?;
            set
        }
        result => result,
    }
}

/// The addresses of `cards` as they are now, in that order.
pub(super) fn read_back(cards: &[Card], known: &[Found]) -> Result<Vec<Mac>, String> {
    if cards.is_empty() {
        return Ok(Vec::new());
    }
    let told = |error: io::Error| error.to_string();
    let control = CardControl::open().map_err(told)?;
    let found = spoken_of(cards, known, &control).map_err(told)?;
    cards
        .iter()
        .map(|card| {
            found
                .iter()
                .map(|found| found.mac)
                .find(|mac| *mac == card.new)
                .ok_or_else(|| format!("no card has the address {}", card.new))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_card_is_found_by_the_address_that_it_had() {
        let mac = |last| Mac([2, 0, 0, 0, 0, last]);
        let found: Vec<Found> = [("eth0", 1), ("eth1", 2)]
            .map(|(name, last)| Found {
                name: name.to_owned(),
                mac: mac(last),
            })
            .into();
        let card = |old, new| Card {
            old: mac(old),
            new: mac(new),
        };
        assert_eq!(
            plan(&[card(2, 12), card(1, 11)], &found),
            Ok(vec![(Some("eth1"), mac(12)), (Some("eth0"), mac(11))])
        );
        assert_eq!(
            plan(&[card(9, 2), card(1, 1)], &found),
            Ok(vec![(None, mac(2)), (None, mac(1))])
        );
        assert_eq!(
            plan(&[card(9, 10)], &found),
            Err("no card has the address 02:00:00:00:00:09".to_owned())
        );
    }

    #[test]
    fn the_kernel_tells_the_cards_of_this_machine() {
        let control = CardControl::open().expect("a socket");
        assert!(control.mac("no-such-card").is_err());
        assert!(control.mac("a-name-that-is-too-long").is_err());
        // The loopback is no Ethernet card.
        assert_eq!(control.mac("lo").expect("asked"), None);
        assert!(
            all(&control)
                .expect("asked")
                .iter()
                .all(|card| card.name != "lo")
        );
        assert_eq!(set(&[], &[]), Ok(()));
    }
}
