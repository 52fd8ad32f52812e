//! Names of the host's users, by /etc/passwd alone: a static binary that asked the name service would load the host's own C library
//! into itself, and end there.

/// None for a user that only a directory service knows.
pub fn name(uid: u32) -> Option<String> {
    name_in(&std::fs::read_to_string("/etc/passwd").ok()?, uid)
}

fn name_in(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_that_of_the_first_line_with_the_number() {
        let passwd = "root:x:0:0::/root:/bin/sh\nodd\nbob:x:1000:1000:Bob:/home/bob:/bin/sh\nrob:x:1000:1000::/:/bin/sh\n";
        assert_eq!(name_in(passwd, 1000).as_deref(), Some("bob"));
        assert_eq!(name_in(passwd, 0).as_deref(), Some("root"));
        assert_eq!(name_in(passwd, 7), None);
    }
}
