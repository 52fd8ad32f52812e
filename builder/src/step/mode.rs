//! `--chmod`: an octal mode, or changes to the mode that is there.

use crate::error::{Error, Kind};

/// The mode that `change` makes of `mode`, permission and set-id bits only.
pub(super) fn changed(change: &str, mode: u32, is_directory: bool) -> Result<u32, Error> {
    if !change.is_empty() && change.bytes().all(|byte| matches!(byte, b'0'..=b'7')) {
        return u32::from_str_radix(change, 8)
            .ok()
            .filter(|mode| *mode <= 0o7777)
            .ok_or_else(|| invalid(change));
    }
    change.split(',').try_fold(mode & 0o7777, |mode, clause| {
        clause_on(clause, mode, is_directory).ok_or_else(|| invalid(change))
    })
}

fn invalid(change: &str) -> Error {
    Error::new(Kind::Invalid, format!("invalid mode {change}"))
        .hint("write an octal number, or as in u+x,go=r")
}

/// `[ugoa]*` and then `[-+=][rwxXst]*` once or several times.
fn clause_on(clause: &str, mut mode: u32, is_directory: bool) -> Option<u32> {
    let who_ends = clause.find(['+', '-', '='])?;
    let (who, mut rest) = clause.split_at_checked(who_ends)?;
    let mut classes = 0;
    for letter in who.chars() {
        classes |= match letter {
            'u' => 0o4700,
            'g' => 0o2070,
            'o' => 0o1007,
            'a' => 0o7777,
            _ => return None,
        };
    }
    if classes == 0 {
        classes = 0o7777;
    }
    while let Some(operator) = rest.chars().next() {
        rest = rest.get(1..)?;
        let ends = rest.find(['+', '-', '=']).unwrap_or(rest.len());
        let (letters, next) = rest.split_at_checked(ends)?;
        let mut bits = 0;
        for letter in letters.chars() {
            bits |= match letter {
                'r' => 0o444,
                'w' => 0o222,
                'x' => 0o111,
                'X' if is_directory || mode & 0o111 != 0 => 0o111,
                'X' => 0,
                's' => 0o6000,
                't' => 0o1000,
                _ => return None,
            };
        }
        match operator {
            '+' => mode |= bits & classes,
            '-' => mode &= !(bits & classes),
            '=' => mode = (mode & !classes) | (bits & classes),
            _ => return None,
        }
        rest = next;
    }
    Some(mode)
}

#[cfg(test)]
mod tests {
    use super::changed;

    #[test]
    fn modes_change_as_chmod_changes_them() {
        for (change, mode, directory, expected) in [
            ("755", 0o644, false, 0o755),
            ("4755", 0o644, false, 0o4755),
            ("u+x", 0o644, false, 0o744),
            ("go=", 0o644, false, 0o600),
            ("a+X", 0o644, false, 0o644),
            ("a+X", 0o644, true, 0o755),
            ("+x", 0o600, false, 0o711),
            ("u+s,g-r", 0o754, false, 0o4714),
            ("u=rwx,go=rx", 0o600, false, 0o755),
            ("+t", 0o777, true, 0o1777),
        ] {
            assert_eq!(changed(change, mode, directory).unwrap(), expected, "{change} {mode:o}");
        }
        for change in ["", "888", "u", "z+x", "77777"] {
            assert_eq!(
                changed(change, 0, false).unwrap_err().to_string(),
                format!("invalid mode {change} (write an octal number, or as in u+x,go=r)")
            );
        }
    }
}
