//! Shows a page in the person's browser.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// What a browser needs to know of the session it appears in.
const ENVIRONMENT: [&str; 12] = [
    "BROWSER",
    "DBUS_SESSION_BUS_ADDRESS",
    "DISPLAY",
    "HOME",
    "LANG",
    "PATH",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
    "XDG_CURRENT_DESKTOP",
    "XDG_DATA_DIRS",
    "XDG_RUNTIME_DIR",
    "XDG_SESSION_TYPE",
];

/// Shows `url`, which may hold a secret: command lines can be read by everybody on the machine, so the browser is
/// given a file that only this user reads, and that leads to the URL. Err: why nothing is shown.
pub(crate) fn show(url: &str) -> Result<(), String> {
    let set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if !["DISPLAY", "WAYLAND_DISPLAY"].iter().any(set) {
        return Err("there is no display here".to_owned());
    }
    let runtime = std::env::var_os("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .ok_or("XDG_RUNTIME_DIR names no private folder")?;
    let opener = std::env::var_os("PATH")
        .into_iter()
        .flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>())
        .map(|folder| folder.join("xdg-open"))
        .find(|file| file.is_file())
        .ok_or("xdg-open is not installed")?;
    let page = runtime.join("anyvirt-console.html");
    write(&page, &redirection(url))
        .map_err(|error| format!("{} cannot be written: {error}", page.display()))?;
    let mut program = host::process::Program::new(opener)
        .argument(&page)
        .new_session();
    for name in ENVIRONMENT {
        if let Some(value) = std::env::var_os(name) {
            program = program.environment(name, value);
        }
    }
    program.spawn().map(drop).map_err(|error| error.to_string())
}

/// A new file of this name that only its owner reads.
fn write(page: &Path, text: &str) -> std::io::Result<()> {
    match std::fs::remove_file(page) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(page)?
        .write_all(text.as_bytes())
}

/// A page that leads to `url`.
fn redirection(url: &str) -> String {
    let url = url
        .replace('&', "&amp;")
        .replace('"', "&quot;")
        .replace('<', "&lt;");
    format!(
        "<!doctype html><meta charset=\"utf-8\"><title>anyvirt</title>\n\
         <meta http-equiv=\"refresh\" content=\"0; url={url}\">\n<a href=\"{url}\">To the console of anyvirt</a>\n"
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_page_that_leads_to_a_link_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let page = folder.path().join("page.html");
        for url in [
            "https://127.0.0.1:1/#otk=first",
            "https://127.0.0.1:1/?a=\"&b=<",
        ] {
            write(&page, &redirection(url)).unwrap();
        }
        let mode = std::fs::metadata(&page).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = std::fs::read_to_string(&page).unwrap();
        assert!(
            !text.contains("first") && text.contains("?a=&quot;&amp;b=&lt;\">"),
            "{text}"
        );
    }
}
