//! A small ISO 9660 image with Joliet names, made in memory: one directory of few files.
//!
//! Joliet alone is enough: Linux, the BSDs and Windows show its names (`user-data`), while the
//! plain ISO 9660 names below it (`USER_DATA`) are for those that know nothing else. The same
//! files and time give the same bytes.
//!
//! ```text
//! sector 0..16   nothing          19, 20  path tables of the plain names (both byte orders)
//!        16      plain volume     21, 22  path tables of the Joliet names
//!        17      Joliet volume    23, 24  the directory, in plain and Joliet names
//!        18      end of volumes   25..    the files
//! ```

use jiff::civil::DateTime;

const SECTOR: usize = 2048;
const PLAIN_TABLE: u32 = 19;
const JOLIET_TABLE: u32 = 21;
const PLAIN_DIRECTORY: u32 = 23;
const JOLIET_DIRECTORY: u32 = 24;
const FILES: u32 = 25;
/// A directory with a record for itself and its parent; ours has no other.
const PATH_TABLE_BYTES: u32 = 10;
/// Names of Joliet: 64 characters of two bytes.
const LONGEST_NAME: usize = 64;
/// Of all files together: far above what a Kubernetes object can carry (about 1 MiB), far below
/// the sizes of four bytes that the format has.
const LARGEST_BYTES: usize = 64 << 20;

/// Why files do not fit into an image.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum IsoError {
    /// The label is not one of the characters that all readers agree on.
    #[error("the volume label `{0}` is not 1 to 11 of a-z, A-Z, 0-9, `-` and `_`")]
    Label(String),
    /// A name that has no place in a single directory.
    #[error("the file name `{0}` is not 1 to 24 of a-z, 0-9, `-` and `_`")]
    Name(String),
    /// More than one directory sector holds.
    #[error("the image has {0} files; at most 16 are possible")]
    TooMany(usize),
    /// Too much data.
    #[error("the files have {0} bytes; at most {LARGEST_BYTES} are possible")]
    TooLarge(usize),
}

/// A file of the image.
#[derive(Clone, Copy, Debug)]
pub struct IsoFile<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// The image of `files` with the volume label `label`; `time` (UTC) stands as its and their date.
///
/// # Errors
/// [`IsoError`].
pub fn image(label: &str, files: &[IsoFile<'_>], time: DateTime) -> Result<Vec<u8>, IsoError> {
    check(label, files)?;
    let mut placed = Vec::new();
    let mut next = FILES;
    for file in files {
        placed.push((next, *file));
        next += sectors(file.bytes.len());
    }

    let mut image = vec![0; SECTOR * 16];
    push_sector(&mut image, volume(label, &Names::Plain, next, time));
    push_sector(&mut image, volume(label, &Names::Joliet, next, time));
    let mut end = vec![255];
    end.extend(b"CD001\x01");
    push_sector(&mut image, end);
    for directory in [PLAIN_DIRECTORY, JOLIET_DIRECTORY] {
        push_sector(
            &mut image,
            path_table(directory.to_le_bytes(), 1_u16.to_le_bytes()),
        );
        push_sector(
            &mut image,
            path_table(directory.to_be_bytes(), 1_u16.to_be_bytes()),
        );
    }
    for names in [Names::Plain, Names::Joliet] {
        push_sector(&mut image, directory(&names, &placed, time));
    }
    for file in files {
        image.extend_from_slice(file.bytes);
        image.resize(image.len().next_multiple_of(SECTOR), 0);
    }
    Ok(image)
}

fn check(label: &str, files: &[IsoFile<'_>]) -> Result<(), IsoError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if label.is_empty() || label.len() > 11 || !label.bytes().all(plain) {
        return Err(IsoError::Label(label.to_owned()));
    }
    if files.len() > 16 {
        return Err(IsoError::TooMany(files.len()));
    }
    for file in files {
        let good = |byte: u8| plain(byte) && !byte.is_ascii_uppercase();
        if file.name.is_empty() || file.name.len() > 24 || !file.name.bytes().all(good) {
            return Err(IsoError::Name(
                file.name.chars().take(LONGEST_NAME).collect(),
            ));
        }
    }
    let total = files.iter().map(|file| file.bytes.len()).sum();
    if total > LARGEST_BYTES {
        return Err(IsoError::TooLarge(total));
    }
    Ok(())
}

/// `LARGEST_BYTES` keeps this far below `u32`.
fn sectors(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(SECTOR)).unwrap_or(u32::MAX)
}

fn push_sector(image: &mut Vec<u8>, mut sector: Vec<u8>) {
    debug_assert!(sector.len() <= SECTOR, "one sector holds it");
    sector.resize(SECTOR, 0);
    image.extend(sector);
}

/// Which of the two sets of names.
enum Names {
    Plain,
    Joliet,
}

impl Names {
    fn directory(&self) -> u32 {
        match self {
            Self::Plain => PLAIN_DIRECTORY,
            Self::Joliet => JOLIET_DIRECTORY,
        }
    }

    fn path_table(&self) -> u32 {
        match self {
            Self::Plain => PLAIN_TABLE,
            Self::Joliet => JOLIET_TABLE,
        }
    }

    /// `text` in a field of `bytes` bytes, filled with spaces.
    fn field(&self, text: &str, bytes: usize) -> Vec<u8> {
        let mut field = match self {
            Self::Plain => text.as_bytes().to_vec(),
            Self::Joliet => wide(text),
        };
        while field.len() < bytes {
            match self {
                Self::Plain => field.push(b' '),
                Self::Joliet => field.extend([0, b' ']),
            }
        }
        field.truncate(bytes);
        field
    }

    fn file(&self, name: &str) -> Vec<u8> {
        match self {
            // Plain names know neither small letters nor hyphens.
            Self::Plain => {
                format!("{}.;1", name.to_ascii_uppercase().replace('-', "_")).into_bytes()
            }
            Self::Joliet => wide(name),
        }
    }
}

/// UCS-2, big endian.
fn wide(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

/// A number in both byte orders, as most fields have it.
fn both(number: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    bytes
}

fn both_short(number: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (number.to_le_bytes(), number.to_be_bytes());
    [a, b, c, d]
}

fn volume(label: &str, names: &Names, sectors: u32, time: DateTime) -> Vec<u8> {
    let joliet = matches!(names, Names::Joliet);
    let mut volume = vec![if joliet { 2 } else { 1 }];
    volume.extend(b"CD001\x01\0");
    volume.extend(names.field("LINUX", 32)); // system
    volume.extend(names.field(label, 32));
    volume.extend([0; 8]);
    volume.extend(both(sectors));
    let mut escape = [0; 32];
    if joliet {
        escape[..3].copy_from_slice(b"%/E"); // all of UCS-2
    }
    volume.extend(escape);
    volume.extend(both_short(1)); // volumes in the set
    volume.extend(both_short(1)); // this one's number
    volume.extend(both_short(2048)); // bytes of a block
    volume.extend(both(PATH_TABLE_BYTES));
    volume.extend(names.path_table().to_le_bytes());
    volume.extend([0; 4]); // no second copy
    volume.extend((names.path_table() + 1).to_be_bytes());
    volume.extend([0; 4]);
    volume.extend(record(&[0], names.directory(), 2048, true, time));
    volume.extend(names.field("", 128)); // volume set
    volume.extend(names.field("", 128)); // publisher
    volume.extend(names.field("", 128)); // who made the data
    volume.extend(names.field("ANYVIRT", 128)); // program
    volume.extend(names.field("", 37)); // files of copyright, abstract and bibliography
    volume.extend(names.field("", 37));
    volume.extend(names.field("", 37));
    let made = format!(
        "{:04}{:02}{:02}{:02}{:02}{:02}00",
        time.year(),
        time.month(),
        time.day(),
        time.hour(),
        time.minute(),
        time.second()
    );
    for date in [
        made.as_str(),
        made.as_str(),
        "0000000000000000",
        made.as_str(),
    ] {
        volume.extend(date.bytes()); // made, changed, expires, valid from
        volume.push(0); // UTC
    }
    volume.push(1); // version of the layout
    volume
}

fn path_table(directory: [u8; 4], parent: [u8; 2]) -> Vec<u8> {
    let mut table = vec![1, 0]; // a name of one byte, no attributes
    table.extend(directory);
    table.extend(parent);
    table.extend([0, 0]); // the root's name, and its filling
    table
}

fn directory(names: &Names, files: &[(u32, IsoFile<'_>)], time: DateTime) -> Vec<u8> {
    let mut records = record(&[0], names.directory(), 2048, true, time); // itself
    records.extend(record(&[1], names.directory(), 2048, true, time)); // its parent: itself
    let mut named: Vec<_> = files
        .iter()
        .map(|(at, file)| (names.file(file.name), at, file))
        .collect();
    named.sort_by(|one, other| one.0.cmp(&other.0)); // readers search by order
    for (name, at, file) in named {
        let bytes = u32::try_from(file.bytes.len()).unwrap_or(u32::MAX);
        records.extend(record(&name, *at, bytes, false, time));
    }
    records
}

fn record(name: &[u8], at: u32, bytes: u32, directory: bool, time: DateTime) -> Vec<u8> {
    let small = |number: i16| u8::try_from(number).unwrap_or(0);
    let mut record = vec![0, 0];
    record.extend(both(at));
    record.extend(both(bytes));
    record.push(small(time.year() - 1900));
    record.extend(
        [
            time.month(),
            time.day(),
            time.hour(),
            time.minute(),
            time.second(),
        ]
        .map(|part| small(part.into())),
    );
    record.push(0); // UTC
    record.push(if directory { 2 } else { 0 });
    record.extend([0, 0]); // not interleaved
    record.extend(both_short(1)); // on this volume
    record.push(small(i16::try_from(name.len()).unwrap_or(0)));
    record.extend(name);
    if record.len() % 2 == 1 {
        record.push(0);
    }
    record[0] = small(i16::try_from(record.len()).unwrap_or(0));
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time() -> DateTime {
        jiff::civil::date(2026, 11, 22).at(18, 40, 54, 0)
    }

    fn four(image: &[u8], at: usize) -> usize {
        u32::from_le_bytes(image[at..at + 4].try_into().expect("four")) as usize
    }

    /// Reads as Linux does: the Joliet volume's root directory, record by record.
    fn read(image: &[u8]) -> Vec<(String, Vec<u8>)> {
        let volume = 17 * SECTOR;
        assert_eq!(&image[volume..volume + 7], b"\x02CD001\x01");
        assert_eq!(&image[volume + 88..volume + 91], b"%/E");
        let mut at = four(image, volume + 156 + 2) * SECTOR;
        let mut files = Vec::new();
        while image[at] != 0 {
            let name = &image[at + 33..at + 33 + usize::from(image[at + 32])];
            if name.len() > 1 {
                let units: Vec<u16> = name
                    .chunks(2)
                    .map(|two| u16::from_be_bytes([two[0], two[1]]))
                    .collect();
                let start = four(image, at + 2) * SECTOR;
                let bytes = image[start..start + four(image, at + 10)].to_vec();
                files.push((String::from_utf16(&units).expect("text"), bytes));
            }
            at += usize::from(image[at]);
        }
        files
    }

    #[test]
    fn files_are_found_by_their_names_with_their_bytes() {
        let long = vec![7; 5000];
        let files = [
            IsoFile {
                name: "user-data",
                bytes: b"#cloud-config\n",
            },
            IsoFile {
                name: "meta-data",
                bytes: &long,
            },
            IsoFile {
                name: "network-config",
                bytes: b"",
            },
        ];
        let image = image("cidata", &files, time()).expect("an image");
        assert_eq!(
            read(&image),
            [
                ("meta-data".to_owned(), long.clone()),
                ("network-config".to_owned(), vec![]),
                ("user-data".to_owned(), b"#cloud-config\n".to_vec()),
            ]
        );
        assert_eq!(&image[16 * SECTOR + 40..16 * SECTOR + 50], b"cidata    ");
        assert_eq!(four(&image, 16 * SECTOR + 80) * SECTOR, image.len());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let file = |name| IsoFile { name, bytes: b"" };
        for label in ["", "a label", "twelve-bytes"] {
            assert!(
                matches!(image(label, &[], time()), Err(IsoError::Label(_))),
                "{label}"
            );
        }
        for name in ["", "a/b", "..", "Upper", "ä", "a-name-that-is-far-too-long"] {
            assert!(
                matches!(image("x", &[file(name)], time()), Err(IsoError::Name(_))),
                "{name}"
            );
        }
        assert_eq!(
            image("x", &[file("a"); 17], time()),
            Err(IsoError::TooMany(17))
        );
    }
}
