//! Finds the shortest list that still fails, by leaving out parts of it (delta debugging).

/// The shortest list found that `fails` as `list` does: without any one of its elements it does
/// not. `list` must fail.
pub fn shrink<T: Clone>(mut list: Vec<T>, mut fails: impl FnMut(&[T]) -> bool) -> Vec<T> {
    let mut size = list.len().div_ceil(2);
    while size > 0 {
        let before = list.len();
        let mut at = 0;
        while at < list.len() {
            let end = (at + size).min(list.len());
            let rest = [&list[..at], &list[end..]].concat();
            if fails(&rest) {
                list = rest;
            } else {
                at = end;
            }
        }
        // What could not be left out may be once something else is.
        if size > 1 || list.len() == before {
            size /= 2;
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::shrink;

    #[test]
    fn what_is_left_is_needed() {
        let list: Vec<u32> = (0..1000).collect();
        let fails = |list: &[u32]| [17, 18, 400, 999].iter().all(|needed| list.contains(needed));
        assert_eq!(shrink(list, fails), [17, 18, 400, 999]);
    }

    #[test]
    fn what_becomes_needless_goes_too() {
        // 3 is needed as long as 7 is there.
        let fails = |list: &[u32]| list.contains(&5) && (!list.contains(&7) || list.contains(&3));
        assert_eq!(shrink((0..10).collect(), fails), [5]);
    }
}
