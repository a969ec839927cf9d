//! `accelerator`: what the accelerator costs. One module for each part; `accelerator PART` measures
//! only that one, `accelerator PART PAIRS` with so many pairs of runs where it has pairs.

mod probe;
mod profile;

/// A part's name, and what measures it with so many pairs of runs.
type Part = (&'static str, fn(Option<usize>));

const PARTS: [Part; 2] = [
    ("probe", |_| probe::measure()),
    ("profile", profile::measure),
];

/// Measures all parts, or one of them. Err: there is no such part.
pub(crate) fn measure(wanted: Option<&str>, pairs: Option<usize>) -> Result<(), String> {
    let names = || PARTS.map(|(name, _)| name).join(", ");
    if let Some(wanted) = wanted
        && !PARTS.iter().any(|(name, _)| *name == wanted)
    {
        return Err(format!("no part {wanted:?}; there is: {}", names()));
    }
    for (name, part) in PARTS {
        if wanted.is_none_or(|wanted| wanted == name) {
            println!("# {name}");
            part(pairs);
        }
    }
    Ok(())
}
