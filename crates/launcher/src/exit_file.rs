//! How a guest ended, as files in the launcher's directory.

use std::io::Write as _;
use std::path::Path;

use api::launcher::{Exit, files};

/// Puts aside how the first start ended, so that the second can end too. What was put aside by a try
/// that was cut short is put aside.
pub(crate) fn put_aside(directory: &Path) -> std::io::Result<()> {
    let (exit, first) = (
        directory.join(files::EXIT),
        directory.join(files::FIRST_EXIT),
    );
    match (exit.exists(), first.exists()) {
        (true, true) => return Err(std::io::ErrorKind::AlreadyExists.into()),
        (true, false) => std::fs::rename(exit, first)?,
        (false, _) => {}
    }
    std::fs::File::open(directory)?.sync_all()
}

/// Written aside, flushed to the disk, put in place: after a power cut there is all of it or none.
pub(crate) fn write_durably(directory: &Path, exit: &Exit) -> std::io::Result<()> {
    let aside = directory.join("exit.json.new");
    let mut file = std::fs::File::create(&aside)?;
    file.write_all(&serde_json::to_vec(exit)?)?;
    file.sync_all()?;
    std::fs::rename(&aside, directory.join(files::EXIT))?;
    std::fs::File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_is_put_aside_once_and_a_try_that_was_cut_short_goes_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = || std::fs::write(folder.path().join(files::EXIT), "{}").expect("written");
        write();
        put_aside(folder.path()).expect("put aside");
        put_aside(folder.path()).expect("it was put aside before");
        assert!(folder.path().join(files::FIRST_EXIT).exists());
        write();
        let error = put_aside(folder.path()).expect_err("a guest starts again once");
        assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
    }
}
