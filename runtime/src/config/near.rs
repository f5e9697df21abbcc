//! What was meant by a key that nobody knows.

use serde_path_to_error::Error;

/// Where it is wrong, what is wrong, and which key was probably meant. `said` is serde's message about it.
pub(crate) fn explained<E>(error: &Error<E>, said: &str) -> String {
    let path = error.path().to_string();
    let (path, said) = match unknown_key(said) {
        // The path ends in the unknown key itself.
        Some((key, message)) => (path.strip_suffix(key).map_or(&*path, |path| path.trim_end_matches('.')), message),
        None => (&*path, said.to_owned()),
    };
    if path.is_empty() || path == "." { said } else { format!("{}: {said}", path.escape_debug()) }
}

/// Serde's message about an unknown field, in our words.
fn unknown_key(said: &str) -> Option<(&str, String)> {
    let (key, expected) = said.strip_prefix("unknown field `")?.split_once("`, expected ")?;
    let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    let shown = key.escape_debug();
    let near = known
        .iter()
        .map(|known| (strsim::normalized_damerau_levenshtein(key, known), known))
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .filter(|(likeness, _)| *likeness >= 0.6);
    let message = match near {
        Some((_, near)) => format!("unknown key `{shown}`; did you mean `{near}`?"),
        None => format!("unknown key `{shown}`; there are {}", known.join(", ")),
    };
    Some((key, message))
}
