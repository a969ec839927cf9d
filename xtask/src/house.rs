//! The house's own rules, as checks: crate floors, the map, the dependency list, the changelog.

use crate::run::root;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

/// One row per floor, lowest first; a crate may depend only on crates on floors below its own.
const FLOORS: [&[&str]; 3] = [
    &["api", "qemu", "store", "images", "host", "renewal"],
    &["apiserver", "console", "controllers", "node", "launcher"],
    &["anyvirt", "cli", "simulation"],
];

/// The one edge on a floor: the binary dispatches the verbs a person types.
const ALLOWED_ON_ONE_FLOOR: &[(&str, &str)] = &[("anyvirt", "cli")];

/// Runs all checks. Err: every broken rule, a line each.
pub(crate) fn check_all() -> Result<(), String> {
    let broken: Vec<String> = [floors()?, map()?, dependencies()?, changelog()?].concat();
    if broken.is_empty() {
        Ok(())
    } else {
        Err(format!("house rules broken:\n  {}", broken.join("\n  ")))
    }
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(root().join(path)).map_err(|error| format!("cannot read {path}: {error}"))
}

fn manifest(path: &str) -> Result<toml::Table, String> {
    read(path)?
        .parse()
        .map_err(|error| format!("cannot parse {path}: {error}"))
}

/// Crates under crates/ with the names of their ordinary dependencies (dev-dependencies may look sideways).
fn crates() -> Result<BTreeMap<String, BTreeSet<String>>, String> {
    let folder = root().join("crates");
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(&folder).map_err(|error| format!("cannot read crates/: {error}"))? {
        let path: PathBuf = entry.map_err(|error| error.to_string())?.path();
        if !path.join("Cargo.toml").is_file() {
            continue;
        }
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let manifest = manifest(&format!("crates/{name}/Cargo.toml"))?;
        let names = ["dependencies", "build-dependencies"]
            .iter()
            .filter_map(|table| manifest.get(*table)?.as_table())
            .flat_map(|table| table.keys().cloned())
            .collect();
        found.insert(name, names);
    }
    Ok(found)
}

fn floor_of(name: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&name))
}

fn floors() -> Result<Vec<String>, String> {
    Ok(broken_floors(&crates()?))
}

/// The pure rule behind [`floors`].
fn broken_floors(crates: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let mut broken = Vec::new();
    for (name, dependencies) in crates {
        let Some(floor) = floor_of(name) else {
            broken.push(format!("crates/{name} stands on no floor; name it in xtask/src/house.rs and ARCHITECTURE.md"));
            continue;
        };
        for dependency in dependencies {
            let Some(other) = floor_of(dependency) else {
                continue;
            };
            let allowed = ALLOWED_ON_ONE_FLOOR.contains(&(name.as_str(), dependency.as_str()));
            if other >= floor && !allowed {
                broken.push(format!(
                    "{name} (floor {floor}) must not depend on {dependency} (floor {other})"
                ));
            }
        }
    }
    for name in FLOORS.iter().copied().flatten() {
        if !crates.contains_key(*name) {
            broken.push(format!("floor crate {name} does not exist"));
        }
    }
    broken
}

/// ARCHITECTURE.md names every crate, and every path it names exists.
fn map() -> Result<Vec<String>, String> {
    let text = read("ARCHITECTURE.md")?;
    let mut broken = Vec::new();
    for name in crates()?.keys() {
        if !text.contains(&format!("`{name}`")) {
            broken.push(format!("ARCHITECTURE.md does not name the crate `{name}`"));
        }
    }
    for path in named_paths(&text) {
        if !root().join(&path).exists() {
            broken.push(format!(
                "ARCHITECTURE.md names {path}, which does not exist"
            ));
        }
    }
    Ok(broken)
}

/// Words in backticks that look like paths of this repository.
fn named_paths(text: &str) -> BTreeSet<String> {
    let looks_like_path = |word: &&str| {
        word.contains('/')
            && !word.contains("://")
            && !word.starts_with('/')
            && word
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c))
            && [
                "crates/",
                "docs/",
                "xtask/",
                "tests/",
                "examples/",
                "deploy/",
                ".ci/",
                "web/",
            ]
            .iter()
            .any(|start| word.starts_with(start))
    };
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter(looks_like_path)
        .map(str::to_owned)
        .collect()
}

/// Every workspace dependency has a line in docs/decisions/dependencies.md, and every line a dependency.
fn dependencies() -> Result<Vec<String>, String> {
    let own: BTreeSet<String> = crates()?.into_keys().collect();
    let root_manifest = manifest("Cargo.toml")?;
    let declared: BTreeSet<String> = root_manifest
        .get("workspace")
        .and_then(|workspace| workspace.get("dependencies")?.as_table())
        .ok_or("Cargo.toml has no [workspace.dependencies]")?
        .iter()
        .filter(|(_, value)| value.get("path").is_none())
        .map(|(name, _)| name.clone())
        .filter(|name| !own.contains(name))
        .collect();
    let listed: BTreeSet<String> = read("docs/decisions/dependencies.md")?
        .lines()
        .filter_map(|line| {
            line.strip_prefix("| ")?
                .split(" |")
                .next()
                .map(str::to_owned)
        })
        .filter(|name| name != "crate")
        .collect();
    let unlisted = declared
        .difference(&listed)
        .map(|name| format!("{name} has no line in docs/decisions/dependencies.md"));
    let gone = listed
        .difference(&declared)
        .map(|name| format!("docs/decisions/dependencies.md lists {name}, which is no dependency"));
    Ok(unlisted.chain(gone).collect())
}

/// CHANGELOG.md keeps the Keep-a-Changelog form: only known headings.
fn changelog() -> Result<Vec<String>, String> {
    const KINDS: [&str; 6] = [
        "Added",
        "Changed",
        "Deprecated",
        "Fixed",
        "Removed",
        "Security",
    ];
    let text = read("CHANGELOG.md")?;
    let mut broken: Vec<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .filter(|kind| !KINDS.contains(kind))
        .map(|kind| {
            format!(
                "CHANGELOG.md has a heading `{kind}`; use one of {}",
                KINDS.join(", ")
            )
        })
        .collect();
    if !text.contains("## [Unreleased]") {
        broken.push("CHANGELOG.md has no `## [Unreleased]` section".to_owned());
    }
    Ok(broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace(edges: &[(&str, &[&str])]) -> BTreeMap<String, BTreeSet<String>> {
        let mut crates: BTreeMap<String, BTreeSet<String>> = FLOORS
            .iter()
            .copied()
            .flatten()
            .map(|name| ((*name).to_owned(), BTreeSet::new()))
            .collect();
        for (name, dependencies) in edges {
            crates.insert(
                (*name).to_owned(),
                dependencies.iter().map(|d| (*d).to_owned()).collect(),
            );
        }
        crates
    }

    #[test]
    fn the_house_as_it_stands_keeps_its_rules() {
        assert_eq!(check_all(), Ok(()));
    }

    #[test]
    fn a_sibling_dependency_is_refused() {
        let broken = broken_floors(&workspace(&[("node", &["controllers"])]));
        assert_eq!(
            broken,
            ["node (floor 1) must not depend on controllers (floor 1)"]
        );
    }

    #[test]
    fn a_crate_without_a_floor_is_refused() {
        assert_eq!(broken_floors(&workspace(&[("misc", &[])])).len(), 1);
    }

    #[test]
    fn paths_in_backticks_are_found_and_urls_and_words_are_not() {
        let found = named_paths(
            "see `crates/api/src/lib.rs`, `https://a/b`, `PUT vm/start` and `docs/guide`",
        );
        assert_eq!(
            found.into_iter().collect::<Vec<_>>(),
            ["crates/api/src/lib.rs", "docs/guide"]
        );
    }
}
