//! An initramfs: files in, a cpio archive in the "newc" form out, which is what Linux unpacks.

/// The archive under construction.
#[derive(Debug, Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// Adds a folder.
    pub(super) fn folder(&mut self, name: &str) {
        self.entry(name, 0o040_755, &[], 0, 0);
    }

    /// Adds a file with `mode` permissions.
    pub(super) fn file(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entry(name, 0o100_000 | mode, content, 0, 0);
    }

    /// Adds a symbolic link to `target`.
    pub(super) fn link(&mut self, name: &str, target: &str) {
        self.entry(name, 0o120_777, target.as_bytes(), 0, 0);
    }

    /// Adds a character device: the kernel opens /dev/console before anything is mounted.
    pub(super) fn character_device(&mut self, name: &str, major: u32, minor: u32) {
        self.entry(name, 0o020_600, &[], major, minor);
    }

    /// The finished archive.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[], 0, 0);
        self.bytes
    }

    /// One header of 13 hexadecimal fields, the name with its NUL, the content; both padded to four bytes.
    fn entry(&mut self, name: &str, mode: u32, content: &[u8], major: u32, minor: u32) {
        self.entries += 1;
        let sizes = (u32::try_from(content.len()), u32::try_from(name.len() + 1));
        let (Ok(content_size), Ok(name_size)) = sizes else {
            panic!("{name} does not fit a cpio archive, whose sizes have 32 bits");
        };
        let fields = [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            content_size,
            0,
            0,
            major,
            minor,
            name_size,
            0,
        ];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_a_chain_of_padded_entries_with_a_trailer() {
        let mut archive = Archive::default();
        archive.folder("bin");
        archive.file("bin/a", 0o755, b"hello");
        let bytes = archive.finish();
        assert!(bytes.starts_with(b"070701") && bytes.len() % 4 == 0);
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(text.matches("070701").count(), 3);
        assert!(text.contains("bin/a\0") && text.contains("hello") && text.contains("TRAILER!!!"));
    }
}
