//! Which ids an ordinary user may map into a user namespace: `/etc/subuid` and `/etc/subgid`.

use std::fs;

/// A run of consecutive ids: inside, outside, how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// First id inside the namespace.
    pub inside: u32,
    /// The id outside that it stands for.
    pub outside: u32,
    /// How many ids.
    pub count: u32,
}

/// The ranges granted to a user in the text of `/etc/subuid` (or `/etc/subgid`), as (first id, how many).
///
/// A line is `name-or-uid:first:count` (subuid(5)); lines that are not are skipped, as newuidmap does.
#[must_use]
pub fn granted(text: &str, name: Option<&str>, uid: u32) -> Vec<(u32, u32)> {
    let number = uid.to_string();
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let (owner, first, count) = (fields.next()?, fields.next()?, fields.next()?);
            if Some(owner) != name && owner != number {
                return None;
            }
            let (first, count) = (first.parse().ok()?, count.trim().parse().ok()?);
            (count > 0).then_some((first, count))
        })
        .collect()
}

/// The map of a namespace in which `own` is 0 and the granted ranges follow from 1.
#[must_use]
pub fn map(own: u32, granted: &[(u32, u32)]) -> Vec<Range> {
    let mut ranges = vec![Range { inside: 0, outside: own, count: 1 }];
    let mut next: u32 = 1;
    for &(outside, count) in granted {
        let count = count.min(u32::MAX - next);
        if count == 0 {
            break;
        }
        ranges.push(Range { inside: next, outside, count });
        next += count;
    }
    ranges
}

/// The user's name by the text of `/etc/passwd`.
#[must_use]
pub fn name_of(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// The ranges of the calling user in a file like `/etc/subuid`; none when there is no such file.
#[must_use]
pub fn granted_by(file: &str, uid: u32) -> Vec<(u32, u32)> {
    let name = fs::read_to_string("/etc/passwd").ok().and_then(|passwd| name_of(&passwd, uid));
    fs::read_to_string(file).map(|text| granted(&text, name.as_deref(), uid)).unwrap_or_default()
}

/// The map of the namespace that this process is in.
#[must_use]
pub fn current() -> Vec<Range> {
    fs::read_to_string("/proc/self/uid_map").map(|text| parse_map(&text)).unwrap_or_default()
}

fn parse_map(text: &str) -> Vec<Range> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace().map(str::parse);
            let (inside, outside, count) = (fields.next()?.ok()?, fields.next()?.ok()?, fields.next()?.ok()?);
            Some(Range { inside, outside, count })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_by_number_and_bad_lines_are_skipped() {
        let text = "a:100000:65536\nb:1:2\n1000:300000:10\na:x:1\nshort:1\na:5:0\n";
        assert_eq!(granted(text, Some("a"), 1000), [(100_000, 65_536), (300_000, 10)]);
        assert_eq!(granted(text, None, 7), []);
    }

    #[test]
    fn own_id_is_root_inside_and_the_ranges_follow() {
        let ranges = map(1000, &[(100_000, 65_536), (300_000, 10)]);
        let seen: Vec<_> = ranges.iter().map(|r| (r.inside, r.outside, r.count)).collect();
        assert_eq!(seen, [(0, 1000, 1), (1, 100_000, 65_536), (65_537, 300_000, 10)]);
    }

    #[test]
    fn the_kernels_map_is_read() {
        let ranges = parse_map("         0       1000          1\n         1     100000      65536\n");
        assert_eq!(ranges.last(), Some(&Range { inside: 1, outside: 100_000, count: 65_536 }));
    }

    #[test]
    fn a_name_is_found_by_its_number() {
        let passwd = "root:x:0:0::/root:/bin/sh\ncoracle:x:1001:1001::/home/c:/bin/sh\n";
        assert_eq!(name_of(passwd, 1001).as_deref(), Some("coracle"));
        assert_eq!(name_of(passwd, 5), None);
    }
}
