//! Disk image headers, read by us before QEMU ever sees the file.
//!
//! An image may name other files: a backing file, a data file, extents. QEMU would open them with
//! its own rights and show their bytes to the guest. So what names anything outside itself is
//! refused here, and only formats that were understood here are given to QEMU, by explicit name.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// How much of a file is read. A qcow2 header with its extensions is some hundred bytes.
const HEADER_BYTES: usize = 64 << 10;
/// The largest disk: far above what is in use, far below where sizes overflow.
pub const LARGEST_BYTES: u64 = 64 << 40;
/// QEMU's own limits on the tables it keeps in memory.
const LARGEST_L1_BYTES: u64 = 32 << 20;
const LARGEST_REFCOUNT_TABLE_BYTES: u64 = 8 << 20;
const MOST_SNAPSHOTS: u32 = 65_536;
const SECTOR: u64 = 512;

/// A format of a disk that is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Just the disk's bytes.
    Raw,
    /// QEMU's own, versions 2 and 3.
    Qcow2,
}

/// An image that may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inspected {
    /// Its format.
    pub format: Format,
    /// The size of the disk that a guest sees.
    pub virtual_size_bytes: u64,
}

/// Why an image may not be used. The text ends with the way out where there is one.
#[derive(Debug, thiserror::Error)]
pub enum ImageRefused {
    /// It is built on another file.
    #[error(
        "the qcow2 image is based on another file ({name:?}), which would be read with the \
         machine's rights; flatten it: qemu-img convert -O qcow2 OLD NEW"
    )]
    BackingFile {
        /// The name in its header, cut to 200 characters.
        name: String,
    },
    /// Its data is in another file.
    #[error(
        "the qcow2 image keeps its data in another file; flatten it: qemu-img convert -O qcow2 \
         OLD NEW"
    )]
    DataFile,
    /// It is encrypted.
    #[error("the image is encrypted ({0}), which is not supported; decrypt it first")]
    Encrypted(&'static str),
    /// It was not closed cleanly, or QEMU marked it as damaged.
    #[error("the qcow2 image is marked {0}; repair a copy: qemu-img check -r all FILE")]
    Damaged(&'static str),
    /// It needs features that are not known here.
    #[error("the qcow2 image needs features that are not supported: {0}")]
    UnknownFeatures(String),
    /// The disk in it is too large.
    #[error("the disk of {virtual_size_bytes} bytes is larger than {LARGEST_BYTES} bytes")]
    TooLarge {
        /// What its header says.
        virtual_size_bytes: u64,
    },
    /// It is another format.
    #[error("{0} images are not supported; convert it: qemu-img convert -O qcow2 OLD NEW")]
    Foreign(&'static str),
    /// It is a compressed file.
    #[error("the file is compressed ({0}); decompress it first")]
    Compressed(&'static str),
    /// Its header contradicts itself or the file.
    #[error("the image is malformed: {0}")]
    Malformed(String),
    /// It cannot be read.
    #[error("the image cannot be read: {0}")]
    Unreadable(#[from] io::Error),
}

/// Looks at the image at `path`.
///
/// # Errors
/// [`ImageRefused`], also if it is not a regular file.
pub fn inspect(path: &Path) -> Result<Inspected, ImageRefused> {
    inspect_file(&File::open(path)?)
}

/// As [`inspect`], for an open file; its position does not change.
///
/// # Errors
/// As [`inspect`].
pub fn inspect_file(file: &File) -> Result<Inspected, ImageRefused> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(malformed("it is not a regular file"));
    }
    let mut header = vec![0; HEADER_BYTES];
    let mut filled = 0;
    while filled < header.len() {
        match file.read_at(&mut header[filled..], filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    header.truncate(filled);
    examine(&header, metadata.len())
}

/// Judges an image by its first bytes (64 KiB, or all if it is shorter) and its length.
///
/// # Errors
/// [`ImageRefused`].
pub fn examine(header: &[u8], file_bytes: u64) -> Result<Inspected, ImageRefused> {
    if header.starts_with(b"QFI\xfb") {
        return qcow2(header, file_bytes);
    }
    refuse_foreign(header)?;
    if file_bytes == 0 {
        return Err(malformed("the file is empty"));
    }
    let virtual_size_bytes = file_bytes.div_ceil(SECTOR).saturating_mul(SECTOR);
    if virtual_size_bytes > LARGEST_BYTES {
        return Err(ImageRefused::TooLarge { virtual_size_bytes });
    }
    Ok(Inspected {
        format: Format::Raw,
        virtual_size_bytes,
    })
}

fn malformed(what: impl Into<String>) -> ImageRefused {
    ImageRefused::Malformed(what.into())
}

/// What begins so is no disk of plain bytes, and must not be taken for one.
fn refuse_foreign(header: &[u8]) -> Result<(), ImageRefused> {
    const FOREIGN: [(usize, &[u8], &str); 11] = [
        (0, b"KDMV", "VMDK"),
        (0, b"COWD", "VMDK"),
        (0, b"# Disk DescriptorFile", "VMDK"),
        (64, &[0x7f, 0x10, 0xda, 0xbe], "VDI"),
        (0, b"vhdxfile", "VHDX"),
        (0, b"conectix", "VHD"),
        (0, b"QED\0", "QED"),
        (0, b"WithoutFreeSpace", "Parallels"),
        (0, b"WithouFreSpacExt", "Parallels"),
        (0, b"Bochs Virtual HD Image", "Bochs"),
        (0, b"OOOM", "QEMU user mode"),
    ];
    const COMPRESSED: [(&[u8], &str); 5] = [
        (&[0x1f, 0x8b, 0x08], "gzip"),
        (&[0xfd, b'7', b'z', b'X', b'Z', 0], "xz"),
        (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
        (b"BZh", "bzip2"),
        (b"PK\x03\x04", "zip"),
    ];
    if header.starts_with(b"LUKS\xba\xbe") {
        return Err(ImageRefused::Encrypted("LUKS"));
    }
    for (offset, magic, name) in FOREIGN {
        if header.get(offset..offset + magic.len()) == Some(magic) {
            return Err(ImageRefused::Foreign(name));
        }
    }
    for (magic, name) in COMPRESSED {
        if header.starts_with(magic) {
            return Err(ImageRefused::Compressed(name));
        }
    }
    Ok(())
}

/// Big-endian fields of a header; reading beyond its end is a refusal.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn bytes<const N: usize>(&self, offset: usize) -> Result<[u8; N], ImageRefused> {
        offset
            .checked_add(N)
            .and_then(|end| self.0.get(offset..end))
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| malformed(format!("the header ends before byte {offset}")))
    }

    fn word(&self, offset: usize) -> Result<u32, ImageRefused> {
        self.bytes(offset).map(u32::from_be_bytes)
    }

    fn long(&self, offset: usize) -> Result<u64, ImageRefused> {
        self.bytes(offset).map(u64::from_be_bytes)
    }
}

const DIRTY: u64 = 1 << 0;
const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
const COMPRESSION_TYPE: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;

fn qcow2(header: &[u8], file_bytes: u64) -> Result<Inspected, ImageRefused> {
    let fields = Fields(header);
    let version = fields.word(4)?;
    let (incompatible, header_length) = match version {
        1 => return Err(ImageRefused::Foreign("qcow (version 1)")),
        2 => (0, 72),
        3 => (fields.long(72)?, fields.word(100)?),
        other => return Err(malformed(format!("qcow2 version {other}"))),
    };
    refuse_backing(&fields)?;
    match fields.word(32)? {
        0 => {}
        1 => return Err(ImageRefused::Encrypted("AES")),
        2 => return Err(ImageRefused::Encrypted("LUKS")),
        other => return Err(malformed(format!("encryption method {other}"))),
    }
    refuse_features(&fields, incompatible, header_length)?;

    let cluster_bits = fields.word(20)?;
    if !(9..=21).contains(&cluster_bits) {
        return Err(malformed(format!("clusters of 2^{cluster_bits} bytes")));
    }
    let cluster = 1u64 << cluster_bits;
    if version == 3 && !(104..=cluster).contains(&u64::from(header_length)) {
        return Err(malformed(format!("a header of {header_length} bytes")));
    }
    let virtual_size_bytes = fields.long(24)?;
    if virtual_size_bytes > LARGEST_BYTES {
        return Err(ImageRefused::TooLarge { virtual_size_bytes });
    }
    let entry = if incompatible & EXTENDED_L2 == 0 {
        8
    } else {
        16
    };
    check_tables(&fields, cluster, entry, virtual_size_bytes, file_bytes)?;
    refuse_extensions(&fields, header_length as usize, cluster)?;
    Ok(Inspected {
        format: Format::Qcow2,
        virtual_size_bytes,
    })
}

fn refuse_backing(fields: &Fields<'_>) -> Result<(), ImageRefused> {
    let (offset, length) = (fields.long(8)?, fields.word(16)?);
    if offset == 0 && length == 0 {
        return Ok(());
    }
    let start = usize::try_from(offset)
        .unwrap_or(usize::MAX)
        .min(fields.0.len());
    let end = start
        .saturating_add(length.min(200) as usize)
        .min(fields.0.len());
    let name = String::from_utf8_lossy(&fields.0[start..end]).into_owned();
    Err(ImageRefused::BackingFile { name })
}

fn refuse_features(
    fields: &Fields<'_>,
    incompatible: u64,
    header_length: u32,
) -> Result<(), ImageRefused> {
    if incompatible & EXTERNAL_DATA != 0 {
        return Err(ImageRefused::DataFile);
    }
    if incompatible & CORRUPT != 0 {
        return Err(ImageRefused::Damaged("corrupt"));
    }
    if incompatible & DIRTY != 0 {
        return Err(ImageRefused::Damaged("dirty (not closed cleanly)"));
    }
    let unknown = incompatible & !(COMPRESSION_TYPE | EXTENDED_L2);
    if unknown != 0 {
        return Err(ImageRefused::UnknownFeatures(format!(
            "incompatible bits {unknown:#x}"
        )));
    }
    if incompatible & COMPRESSION_TYPE != 0 {
        if header_length < 105 {
            return Err(malformed(
                "a compression type that its header has no room for",
            ));
        }
        let [kind] = fields.bytes(104)?;
        // 0 is zlib, 1 is zstd.
        if kind > 1 {
            return Err(ImageRefused::UnknownFeatures(format!(
                "compression type {kind}"
            )));
        }
    }
    Ok(())
}

/// The tables must be large enough for the disk, small enough for our memory, and in the file.
fn check_tables(
    fields: &Fields<'_>,
    cluster: u64,
    entry: u64,
    virtual_size_bytes: u64,
    file_bytes: u64,
) -> Result<(), ImageRefused> {
    let l1_entries = u64::from(fields.word(36)?);
    let l1_offset = fields.long(40)?;
    let per_entry = cluster * (cluster / entry);
    let needed = virtual_size_bytes.div_ceil(per_entry);
    if l1_entries < needed {
        return Err(malformed(format!(
            "an L1 table of {l1_entries} entries, {needed} needed"
        )));
    }
    let l1_bytes = l1_entries * 8;
    if l1_bytes > LARGEST_L1_BYTES {
        return Err(malformed(format!("an L1 table of {l1_bytes} bytes")));
    }
    let inside = |offset: u64, bytes: u64| {
        offset.is_multiple_of(cluster)
            && offset
                .checked_add(bytes)
                .is_some_and(|end| end <= file_bytes)
    };
    if l1_entries > 0 && (l1_offset == 0 || !inside(l1_offset, l1_bytes)) {
        return Err(malformed(format!(
            "the L1 table at {l1_offset} is outside of the file"
        )));
    }
    let refcount_offset = fields.long(48)?;
    let refcount_bytes = u64::from(fields.word(56)?) * cluster;
    if refcount_bytes == 0 || refcount_bytes > LARGEST_REFCOUNT_TABLE_BYTES {
        return Err(malformed(format!(
            "a refcount table of {refcount_bytes} bytes"
        )));
    }
    // The last cluster of a file may be short.
    if refcount_offset == 0 || !inside(refcount_offset, 8) {
        return Err(malformed(format!(
            "the refcount table at {refcount_offset} is outside of the file"
        )));
    }
    let snapshots = fields.word(60)?;
    if snapshots > MOST_SNAPSHOTS {
        return Err(malformed(format!("{snapshots} snapshots")));
    }
    Ok(())
}

/// Header extensions: a type, a length, data padded to eight bytes, until type 0.
fn refuse_extensions(
    fields: &Fields<'_>,
    header_length: usize,
    cluster: u64,
) -> Result<(), ImageRefused> {
    const BACKING_FORMAT: u32 = 0xe279_2aca;
    const ENCRYPTION: u32 = 0x0537_be77;
    const DATA_FILE_NAME: u32 = 0x4441_5441;
    let end = usize::try_from(cluster)
        .unwrap_or(usize::MAX)
        .min(fields.0.len());
    let mut offset = header_length;
    while offset < end {
        let kind = fields.word(offset)?;
        match kind {
            0 => return Ok(()),
            DATA_FILE_NAME => return Err(ImageRefused::DataFile),
            ENCRYPTION => return Err(ImageRefused::Encrypted("LUKS")),
            BACKING_FORMAT => {
                return Err(malformed(
                    "a format for a backing file that it does not have",
                ));
            }
            // Feature names, bitmaps and unknown ones say nothing that changes what is read.
            _ => {}
        }
        let length = fields.word(offset + 4)? as usize;
        offset = length
            .checked_next_multiple_of(8)
            .and_then(|padded| offset.checked_add(8)?.checked_add(padded))
            .filter(|next| *next <= end)
            .ok_or_else(|| malformed("a header extension longer than its header"))?;
    }
    // A header that fills its cluster has no room for the closing zero, which is allowed; one
    // that is longer than what we have read is not.
    if end as u64 == cluster {
        return Ok(());
    }
    Err(malformed("header extensions without an end"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CLUSTER: u64 = 1 << 16;
    const FILE: u64 = 4 * CLUSTER;

    /// A well-formed version 3 image of 1 GiB: refcount table, refcount block, L1 in clusters 1 to 3.
    fn sound() -> Vec<u8> {
        let mut header = vec![0; HEADER_BYTES];
        header[..4].copy_from_slice(b"QFI\xfb");
        put32(&mut header, 4, 3);
        put32(&mut header, 20, 16);
        put64(&mut header, 24, 1 << 30);
        put32(&mut header, 36, 2);
        put64(&mut header, 40, 3 * CLUSTER);
        put64(&mut header, 48, CLUSTER);
        put32(&mut header, 56, 1);
        put32(&mut header, 96, 4);
        put32(&mut header, 100, 104);
        header
    }

    fn put32(header: &mut [u8], offset: usize, value: u32) {
        header[offset..offset + 4].copy_from_slice(&value.to_be_bytes());
    }

    fn put64(header: &mut [u8], offset: usize, value: u64) {
        header[offset..offset + 8].copy_from_slice(&value.to_be_bytes());
    }

    fn with(change: impl FnOnce(&mut [u8])) -> Result<Inspected, ImageRefused> {
        let mut header = sound();
        change(&mut header);
        examine(&header, FILE)
    }

    #[test]
    fn sound_images_of_both_versions_are_accepted() {
        let expected = Inspected {
            format: Format::Qcow2,
            virtual_size_bytes: 1 << 30,
        };
        assert_eq!(with(|_| {}).expect("version 3"), expected);
        assert_eq!(
            with(|header| {
                put32(header, 4, 2);
                header[72..].fill(0);
            })
            .expect("version 2"),
            expected
        );
        // zstd, and a table of feature names before the end.
        with(|header| {
            put64(header, 72, COMPRESSION_TYPE);
            put32(header, 100, 112);
            header[104] = 1;
            put32(header, 112, 0x6803_f857);
            put32(header, 116, 48);
        })
        .expect("zstd and feature names");
    }

    #[test]
    fn anything_that_names_another_file_is_refused() {
        let refused = with(|header| {
            put64(header, 8, 200);
            put32(header, 16, 11);
            header[200..211].copy_from_slice(b"/etc/shadow");
        });
        assert!(
            matches!(&refused, Err(ImageRefused::BackingFile { name }) if name == "/etc/shadow"),
            "{refused:?}"
        );
        let far = with(|header| {
            put64(header, 8, u64::MAX);
            put32(header, 16, u32::MAX);
        });
        assert!(
            matches!(far, Err(ImageRefused::BackingFile { .. })),
            "{far:?}"
        );
        let feature = with(|header| put64(header, 72, EXTERNAL_DATA));
        assert!(
            matches!(feature, Err(ImageRefused::DataFile)),
            "{feature:?}"
        );
        let extension = with(|header| {
            put32(header, 104, 0x4441_5441);
            put32(header, 108, 11);
            header[112..123].copy_from_slice(b"/etc/shadow");
        });
        assert!(
            matches!(extension, Err(ImageRefused::DataFile)),
            "{extension:?}"
        );
    }

    #[test]
    fn encrypted_damaged_and_unknown_images_are_refused_by_name() {
        for (name, refused) in [
            ("AES", with(|header| put32(header, 32, 1))),
            ("LUKS", with(|header| put32(header, 32, 2))),
            ("corrupt", with(|header| put64(header, 72, CORRUPT))),
            ("dirty", with(|header| put64(header, 72, DIRTY))),
            ("0x80", with(|header| put64(header, 72, 1 << 7))),
            ("version 7", with(|header| put32(header, 4, 7))),
            ("version 1", with(|header| put32(header, 4, 1))),
        ] {
            let error = refused.expect_err(name).to_string();
            assert!(error.contains(name), "{name}: {error}");
        }
    }

    #[test]
    fn absurd_sizes_and_tables_are_refused() {
        for (name, refused) in [
            ("larger than", with(|header| put64(header, 24, 1 << 62))),
            ("needed", with(|header| put64(header, 24, 1 << 40))),
            ("L1 table", with(|header| put32(header, 36, u32::MAX))),
            ("outside", with(|header| put64(header, 40, 1 << 40))),
            ("outside", with(|header| put64(header, 40, 3 * CLUSTER + 8))),
            ("outside", with(|header| put64(header, 48, !0xffff))),
            ("refcount table", with(|header| put32(header, 56, u32::MAX))),
            ("snapshots", with(|header| put32(header, 60, u32::MAX))),
            ("clusters", with(|header| put32(header, 20, 63))),
            ("header of", with(|header| put32(header, 100, 8))),
            (
                "longer than",
                with(|header| {
                    put32(header, 104, 1);
                    put32(header, 108, u32::MAX);
                }),
            ),
        ] {
            let error = refused.expect_err(name).to_string();
            assert!(error.contains(name), "{name}: {error}");
        }
    }

    #[test]
    fn other_formats_are_refused_by_name_and_plain_bytes_are_raw() {
        let mut vdi = vec![0; 512];
        vdi[64..68].copy_from_slice(&[0x7f, 0x10, 0xda, 0xbe]);
        for (start, name) in [
            (&b"KDMV"[..], "VMDK"),
            (b"# Disk DescriptorFile\n", "VMDK"),
            (&vdi, "VDI"),
            (b"vhdxfile", "VHDX"),
            (b"LUKS\xba\xbe", "LUKS"),
            (&[0x1f, 0x8b, 0x08], "gzip"),
            (&[0xfd, b'7', b'z', b'X', b'Z', 0], "xz"),
        ] {
            let error = examine(start, 1 << 20).expect_err(name).to_string();
            assert!(error.contains(name), "{error}");
        }
        let raw = examine(&[0xeb; 512], 1000).expect("raw");
        assert_eq!(
            raw,
            Inspected {
                format: Format::Raw,
                virtual_size_bytes: 1024
            }
        );
        examine(&[], 0).expect_err("empty");
        examine(&[0; 512], u64::MAX).expect_err("huge");
    }

    #[test]
    fn a_file_is_read_from_its_start_and_a_directory_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("disk");
        let mut image = sound();
        image.resize(FILE as usize, 0);
        std::fs::write(&path, &image).expect("written");
        assert_eq!(inspect(&path).expect("sound").format, Format::Qcow2);
        std::fs::write(&path, &image[..90]).expect("written");
        inspect(&path).expect_err("cut");
        inspect(directory.path()).expect_err("a directory");
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(noise in proptest::collection::vec(any::<u8>(), 0..600), bytes: u64) {
            let _ = examine(&noise, bytes);
        }

        #[test]
        fn no_damage_to_a_sound_header_makes_it_panic_or_lets_a_data_file_through(
            damage in proptest::collection::vec((0usize..128, any::<u8>()), 1..12),
            length in 0usize..HEADER_BYTES,
        ) {
            let mut header = sound();
            for (offset, value) in damage {
                header[offset] = value;
            }
            if examine(&header, FILE).is_ok() && header[..4] == *b"QFI\xfb" {
                prop_assert_eq!(&header[8..20], &[0u8; 12][..]);
                prop_assert!(header[7] == 2 || header[79] & 4 == 0);
            }
            let _ = examine(&header[..length], FILE);
        }
    }
}
