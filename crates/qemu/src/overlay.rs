//! New qcow2 files, written by ourselves: starting `qemu-img` for one takes 7 to 16 ms, writing
//! these few bytes takes none.
//!
//! The file names no backing file. Where there is one, QEMU is given it as a node of its own
//! ([`crate::machine::DiskImage::Overlay`]), so that no path stands in a header.

/// Bytes of a cluster, QEMU's default.
const CLUSTER: u64 = 1 << 16;
/// Entries of eight bytes in a cluster.
const ENTRIES: u64 = CLUSTER / 8;
/// Clusters that one cluster of 16-bit reference counts can count.
const COUNTED: u64 = CLUSTER / 2;
/// The largest disk: its first table takes a mebibyte and one cluster of reference counts is
/// enough for all that is written here.
pub const LARGEST_BYTES: u64 = 64 << 40;

/// A disk of a size that is not served.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a disk of {bytes} bytes: at least 1 byte and at most {LARGEST_BYTES} are served")]
pub struct WrongSize {
    /// The size asked for.
    pub bytes: u64,
}

/// A new qcow2 file: write each part at its place, then set the length.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Overlay {
    /// Place and bytes of each part. Everything between them is zero.
    pub parts: Vec<(u64, Vec<u8>)>,
    /// The length of the file in bytes.
    pub file_bytes: u64,
}

/// The qcow2 file (version 3) of a disk of `virtual_bytes` in which nothing is written yet. The
/// size is rounded up to a whole sector of 512 bytes.
///
/// # Errors
/// [`WrongSize`].
pub fn overlay(virtual_bytes: u64) -> Result<Overlay, WrongSize> {
    if virtual_bytes == 0 || virtual_bytes > LARGEST_BYTES {
        return Err(WrongSize {
            bytes: virtual_bytes,
        });
    }
    let virtual_bytes = virtual_bytes.next_multiple_of(512);
    let first_table_entries = virtual_bytes.div_ceil(CLUSTER * ENTRIES);
    let first_table_clusters = (first_table_entries * 8).div_ceil(CLUSTER);
    // Header, table of reference counts, one cluster of counts, first table of the guest's data.
    let (count_table, counts, first_table) = (CLUSTER, 2 * CLUSTER, 3 * CLUSTER);
    let clusters = 3 + first_table_clusters;
    debug_assert!(
        clusters <= COUNTED,
        "one cluster of counts is enough for LARGEST_BYTES"
    );

    let mut header = Vec::with_capacity(112);
    header.extend(b"QFI\xfb");
    header.extend(3_u32.to_be_bytes()); // version
    header.extend(0_u64.to_be_bytes()); // name of the backing file: none
    header.extend(0_u32.to_be_bytes()); // its length
    header.extend(16_u32.to_be_bytes()); // bits of a cluster
    header.extend(virtual_bytes.to_be_bytes());
    header.extend(0_u32.to_be_bytes()); // not encrypted
    // At most 131,072 (LARGEST_BYTES), so the conversion cannot fail.
    header.extend(
        u32::try_from(first_table_entries)
            .unwrap_or(u32::MAX)
            .to_be_bytes(),
    );
    header.extend(first_table.to_be_bytes());
    header.extend(count_table.to_be_bytes());
    header.extend(1_u32.to_be_bytes()); // clusters of that table
    header.extend(0_u32.to_be_bytes()); // snapshots
    header.extend(0_u64.to_be_bytes());
    header.extend(0_u64.to_be_bytes()); // incompatible features
    header.extend(0_u64.to_be_bytes()); // compatible features
    header.extend(0_u64.to_be_bytes()); // features that are cleared by older programs
    header.extend(4_u32.to_be_bytes()); // 2^4 bits for a reference count
    header.extend(104_u32.to_be_bytes()); // length of this header
    header.extend(0_u64.to_be_bytes()); // end of its extensions

    let mut ones = Vec::new();
    for _ in 0..clusters {
        ones.extend(1_u16.to_be_bytes());
    }
    Ok(Overlay {
        parts: vec![
            (0, header),
            (count_table, counts.to_be_bytes().to_vec()),
            (counts, ones),
        ],
        file_bytes: clusters * CLUSTER,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(header: &[u8], at: usize) -> u64 {
        let bytes: [u8; 8] = header[at..at + 8].try_into().expect("eight bytes");
        u64::from_be_bytes(bytes)
    }

    #[test]
    fn every_cluster_of_the_file_is_counted_once_and_the_tables_are_inside() {
        for bytes in [
            1,
            512,
            513,
            1 << 30,
            (512 << 20) + 1,
            1 << 40,
            LARGEST_BYTES,
        ] {
            let overlay = overlay(bytes).expect("a file");
            let header = &overlay.parts[0].1;
            assert_eq!(number(header, 24), bytes.next_multiple_of(512));
            let entries = u64::from(u32::from_be_bytes(header[36..40].try_into().expect("four")));
            assert!(entries * ENTRIES * CLUSTER >= bytes, "{bytes}");
            assert!(number(header, 40) + entries * 8 <= overlay.file_bytes);
            let counts = &overlay.parts[2].1;
            assert_eq!(counts.len() as u64 / 2 * CLUSTER, overlay.file_bytes);
            assert!(counts.chunks(2).all(|count| count == [0, 1]));
            assert!(counts.len() as u64 <= CLUSTER);
        }
    }

    #[test]
    fn sizes_that_cannot_be_served_are_refused() {
        for bytes in [0, LARGEST_BYTES + 1, 1 << 62, u64::MAX] {
            let error = overlay(bytes).expect_err("refused");
            assert!(error.to_string().contains(&bytes.to_string()));
        }
    }
}
