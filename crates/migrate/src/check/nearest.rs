//! The known name closest to one that is not known, so that a refusal can say what was probably meant.

/// The closest of `known`, if there is any; of equally close ones the first.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known.min_by_key(|k| distance(name, k))
}

/// How many letters must be added, taken away or changed to make one of the other, ignoring case.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.to_lowercase().chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_takes_the_fewest_edits() {
        let known = ["shop.orders", "shop.customers", "crm.orders"];
        assert_eq!(nearest("shop.order", known.into_iter()), Some("shop.orders"));
        assert_eq!(nearest("Shop.costumers", known.into_iter()), Some("shop.customers"));
        assert_eq!(nearest("x", [].into_iter()), None);
        assert_eq!((distance("", "abc"), distance("kitten", "sitting")), (3, 3));
    }
}
