//! "Did you mean": the known word nearest to a mistyped one.

/// Longer words are not compared: the work is quadratic, and nobody mistypes a name of that length.
const MOST_CHARS: usize = 64;

/// The candidate nearest to `word`, if it is near enough to be what was meant.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let length = word.chars().count();
    if length > MOST_CHARS {
        return None;
    }
    // A third of the letters may be wrong, and one of a short word.
    let limit = (length / 3).max(1);
    let ranked = candidates.into_iter().map(|candidate| (distance(word, candidate), candidate));
    ranked.filter(|(far, _)| *far <= limit).min_by_key(|(far, _)| *far).map(|(_, near)| near)
}

/// ` (did you mean `x`?)`, or nothing.
pub(crate) fn hint<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, candidates).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
}

/// Letters to insert, delete, replace or swap with their neighbours (optimal string alignment).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().take(MOST_CHARS + 1).collect();
    // The two rows above the current one of the table, each with a cell for the empty prefix.
    let mut above: Vec<usize> = (0..=to.len()).collect();
    let mut before_that: Vec<usize> = Vec::new();
    let mut last: Option<char> = None;
    for (row, letter) in from.chars().enumerate() {
        let mut current = vec![row + 1];
        for (column, &other) in to.iter().enumerate() {
            let cell = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX / 2);
            let replaced = cell(&above, column) + usize::from(letter != other);
            let mut best =
                replaced.min(cell(&above, column + 1) + 1).min(cell(&current, column) + 1);
            let swapped = column.checked_sub(1).filter(|&left| {
                last == Some(other) && to.get(left) == Some(&letter) && letter != other
            });
            if let Some(left) = swapped {
                best = best.min(cell(&before_that, left) + 1);
            }
            current.push(best);
        }
        before_that = std::mem::replace(&mut above, current);
        last = Some(letter);
    }
    above.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_letters_and_swaps() {
        for (from, to, far) in [
            ("rate", "rate", 0),
            ("raet", "rate", 1),
            ("rat", "rate", 1),
            ("rates", "rate", 1),
            ("", "rate", 4),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(from, to), far, "{from} {to}");
            assert_eq!(distance(to, from), far, "{to} {from}");
        }
    }

    #[test]
    fn only_a_near_word_is_meant() {
        let all = ["duration", "warmup", "rate"];
        assert_eq!(nearest("durration", all), Some("duration"));
        assert_eq!(nearest("rtae", all), Some("rate"));
        assert_eq!(nearest("clients", all), None);
        assert_eq!(nearest(&"r".repeat(65), all), None);
        assert_eq!(hint("warm_up", all), "; did you mean `warmup`?");
        assert_eq!(hint("zzz", all), "");
    }
}
