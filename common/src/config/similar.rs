//! "Did you mean": the known name that a mistyped one resembles.

/// How similar a name must be to be suggested (Jaro-Winkler, 0 to 1): one or two letters wrong.
const SIMILAR: f64 = 0.8;

/// The one of `names` that is most like `name`, if any is like it at all.
pub(super) fn most_similar<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity >= SIMILAR)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}
