//! `anyvirt image renewal-hook`: the program that goes into an image.

use std::fs::File;
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::failure::{Exit, Failure};
use crate::output;

/// Writes the program for guests of this architecture to a file, or to standard output.
pub(super) fn run(architecture: &str, file: Option<&Path>) -> Result<Exit, Failure> {
    let program = renewal::program(architecture).ok_or_else(|| {
        let how = "take it from an anyvirt that runs on that architecture";
        Failure::new(format!(
            "this anyvirt has no program for guests of {architecture}: {how}"
        ))
    })?;
    match file {
        Some(file) => write(file, program)?,
        None if std::io::stdout().is_terminal() => {
            let how = "say --output FILE, or send standard output to one";
            return Err(Failure::new(format!(
                "this is a program, not a text: {how}"
            )));
        }
        None => output::bytes(program)?,
    }
    Ok(Exit::Ok)
}

fn write(file: &Path, program: &[u8]) -> Result<(), Failure> {
    let failed = |error| Failure::new(format!("cannot write {}: {error}", file.display()));
    let mut open = File::options();
    open.write(true).create(true).truncate(true).mode(0o755);
    let mut opened = open.open(file).map_err(failed)?;
    opened.write_all(program).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_program_is_written_as_one_that_can_be_started() {
        let own = super::super::GuestArchitecture::own().name();
        let folder = std::env::temp_dir().join(format!("anyvirt-hook-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let file = folder.join("anyvirt-renew");
        run(own, Some(&file)).expect("written");
        let mode = std::fs::metadata(&file)
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o700, 0o700);
        let written = std::fs::read(&file).expect("read");
        assert_eq!(Some(&*written), renewal::program(own));
        std::fs::remove_dir_all(&folder).expect("removed");
        let refused = run("s390x", None).expect_err("none");
        assert!(
            refused.message.contains("no program for guests of s390x"),
            "{}",
            refused.message
        );
        let refused = run(own, Some(&file)).expect_err("no folder");
        assert!(
            refused.message.starts_with("cannot write "),
            "{}",
            refused.message
        );
    }
}
