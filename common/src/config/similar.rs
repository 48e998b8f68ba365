//! "Did you mean": finds the known name that a mistyped one resembles.

/// Minimum similarity of a suggestion (Jaro-Winkler, 0 to 1), which corresponds to one or two wrong letters.
const SIMILAR: f64 = 0.8;

/// Returns the most similar name, if any is similar enough.
pub(crate) fn most_similar<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity >= SIMILAR)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}
