//! Whether a text has a member in another case than its type knows it by. Looked for in the text itself, since the types' reader
//! leaves such a one out without a word, and since a reader that listens for what is left out would cost every container
//! more than this does (about 10 us for the 17 KiB of an engine's configuration). It may say yes without need, which costs a slower reading.

use super::members::is_same;

/// Every member of every structure that is read, as the types spell it; a test holds them together.
#[rustfmt::skip]
const NAMES: [&str; 194] = [
    "DNSSearchList", "access", "action", "additionalGids", "allow", "allowUnqualifiedDNSQuery",
    "allowedAddress", "ambient", "anet", "annotations", "apparmorProfile", "architectures", "args",
    "blockIO", "bounding", "bps", "burst", "capabilities", "cappedCPU", "cappedMemory", "cgroupsPath",
    "checkBeforeUpdate", "class", "classID", "closID", "commandLine", "configureAllowedAddress",
    "consoleSize", "containerID", "count", "cpu", "cpus", "createContainer", "createRuntime",
    "credentialSpec", "cwd", "deadline", "defaultAction", "defaultErrnoRet", "defrouter", "destination",
    "devices", "disableOOMKiller", "domain", "domainname", "effective", "enableCmt", "enableMbm",
    "enableMonitoring", "endpointList", "env", "errnoRet", "execCPUAffinity", "fileMode", "final", "flags",
    "format", "gid", "gidMappings", "hard", "hcaHandles", "hcaObjects", "height", "hooks", "hostID",
    "hostname", "hugepageLimits", "hyperv", "hypervisor", "id", "idType", "idle", "ignoreFlushesDuringBoot",
    "image", "index", "inheritable", "initial", "initrd", "intelRdt", "ioPriority", "iops", "kernel",
    "kernelTCP", "l3CacheSchema", "layerFolders", "leafWeight", "limit", "limitpriv", "linkProtection",
    "linkname", "linux", "listenerMetadata", "listenerPath", "lowerLink", "macAddress", "major",
    "maskedPaths", "maxShmMemory", "maximum", "memBwSchema", "memory", "memoryPolicy", "mems", "milestone",
    "minor", "mode", "mountLabel", "mounts", "name", "names", "namespaces", "nanosecs", "ncpus",
    "netDevices", "network", "networkNamespace", "networkSharedContainerName", "nice", "noNewPrivileges",
    "nodes", "ociVersion", "oomScoreAdj", "op", "options", "pageSize", "parameters", "path", "period",
    "permitted", "personality", "physical", "pids", "policy", "poststart", "poststop", "prestart",
    "priorities", "priority", "process", "quota", "rate", "rdma", "readonly", "readonlyPaths",
    "realtimePeriod", "realtimeRuntime", "reservation", "resources", "rlimits", "root", "rootfsPropagation",
    "runtime", "sandboxSize", "scheduler", "schemata", "seccomp", "secs", "selinuxLabel", "servicing",
    "shares", "size", "soft", "solaris", "source", "startContainer", "storage", "swap", "swappiness",
    "syscalls", "sysctl", "terminal", "throttleReadBpsDevice", "throttleReadIOPSDevice",
    "throttleWriteBpsDevice", "throttleWriteIOPSDevice", "timeOffsets", "timeout", "type", "uid",
    "uidMappings", "umask", "unified", "useHierarchy", "user", "username", "utilityVmPath", "value",
    "valueTwo", "vm", "weight", "weightDevice", "width", "windows", "zos",
];

const LONGEST: usize = 26;
const SLOTS: usize = 1024;

/// From a hash of the lower-case name to its place in `NAMES` plus one; 0 is free, and ends a search.
const TABLE: [u8; SLOTS] = table();

/// Whether some member, at whatever place, is spelt in another case.
pub(super) fn differs(text: &str) -> bool {
    text.match_indices(':').filter_map(|(at, _)| key(text, at)).any(|key| {
        // Part of a string that quotes JSON, as engines' annotations do: no key ends with an escaped quote.
        !key.ends_with('\\') && (is_unusual(key) || spelling(key).is_some_and(|name| name != key))
    })
}

/// What stands in quotation marks before the colon at `at`.
fn key(text: &str, at: usize) -> Option<&str> {
    let before = text.as_bytes().get(..at)?.trim_ascii_end();
    let end = before.len().checked_sub(1).filter(|end| before.get(*end) == Some(&b'"'))?;
    let start = before.get(..end)?.iter().rposition(|byte| *byte == b'"')? + 1;
    text.get(start..end)
}

/// Escapes and letters beyond ASCII can be other spellings of a name; few keys have them.
fn is_unusual(key: &str) -> bool {
    key.bytes().any(|byte| byte == b'\\' || !byte.is_ascii())
}

/// The name that differs from `key` in nothing but case, or not at all.
fn spelling(key: &str) -> Option<&'static str> {
    if key.len() > LONGEST {
        return None;
    }
    let mut slot = hash(key.as_bytes());
    loop {
        let name = NAMES.get(usize::from(*TABLE.get(slot)?).checked_sub(1)?)?;
        if *name == key || is_same(key, name) {
            return Some(name);
        }
        slot = (slot + 1) % SLOTS;
    }
}

const fn hash(key: &[u8]) -> usize {
    let (mut hash, mut left) = (0, key);
    while let [byte, rest @ ..] = left {
        // Bit 5 is a letter's case.
        hash = (hash * 31 + (*byte | 0x20) as usize) % 65_536;
        left = rest;
    }
    hash % SLOTS
}

const _: () = assert!(NAMES.len() < 255);

#[expect(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "the compiler carries it out")]
const fn table() -> [u8; SLOTS] {
    let mut table = [0; SLOTS];
    let mut at = 0;
    while at < NAMES.len() {
        let mut slot = hash(NAMES[at].as_bytes());
        while table[slot] != 0 {
            slot = (slot + 1) % SLOTS;
        }
        table[slot] = at as u8 + 1;
        at += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    use oci_spec::runtime::{LinuxResources, Mount, Process, Spec};
    use serde::de::value::{Error, StrDeserializer};
    use serde::de::{
        Deserialize, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor,
    };
    use serde::forward_to_deserialize_any;

    use super::{LONGEST, NAMES, SLOTS, TABLE, differs};

    /// Gives every type what it asks for, every member included, and notes the members' names.
    #[derive(Clone, Copy)]
    struct Asked<'a>(&'a RefCell<BTreeSet<&'static str>>, &'static str);

    macro_rules! give {
        ($($method:ident $visit:ident $value:expr;)*) => {
            $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
                visitor.$visit($value)
            })*
        };
    }

    impl<'de> Deserializer<'de> for Asked<'_> {
        type Error = Error;

        give! {
            deserialize_bool visit_bool true;
            deserialize_i64 visit_u64 1;
            deserialize_any visit_u64 1;
        }

        fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.1 {
                "initial" | "final" => visitor.visit_str("0"),
                _ => visitor.visit_str("CAP_CHOWN"),
            }
        }

        fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.deserialize_str(visitor)
        }

        fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            visitor.visit_some(self)
        }

        fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            visitor.visit_seq(Once { asked: self, left: vec!["x"] })
        }

        fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            visitor.visit_map(Once { asked: self, left: vec!["x"] })
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, Error> {
            self.0.borrow_mut().extend(fields);
            visitor.visit_map(Once { asked: self, left: fields.to_vec() })
        }

        fn deserialize_enum<V: Visitor<'de>>(
            self,
            _: &'static str,
            variants: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, Error> {
            visitor.visit_enum(variants[0].into_deserializer() as StrDeserializer<'_, Error>)
        }

        forward_to_deserialize_any! {
            i8 i16 i32 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct
            newtype_struct tuple tuple_struct identifier ignored_any
        }
    }

    struct Once<'a> {
        asked: Asked<'a>,
        left: Vec<&'static str>,
    }

    impl<'de> MapAccess<'de> for Once<'_> {
        type Error = Error;

        fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
            self.asked.1 = self.left.pop().unwrap_or_default();
            let key = Some(self.asked.1).filter(|key| !key.is_empty());
            key.map(|key| seed.deserialize(key.into_deserializer() as StrDeserializer<'_, Error>)).transpose()
        }

        fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
            seed.deserialize(self.asked)
        }
    }

    impl<'de> SeqAccess<'de> for Once<'_> {
        type Error = Error;

        fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
            self.left.pop().map(|_| seed.deserialize(self.asked)).transpose()
        }
    }

    #[test]
    fn every_member_of_every_type_is_known() {
        let names = RefCell::default();
        let asked = Asked(&names, "");
        Spec::deserialize(asked).unwrap();
        Process::deserialize(asked).unwrap();
        LinuxResources::deserialize(asked).unwrap();
        Mount::deserialize(asked).unwrap();
        let names: Vec<&str> = names.into_inner().into_iter().collect();
        assert_eq!(NAMES, *names);
        assert_eq!(names.iter().map(|name| name.len()).max(), Some(LONGEST));
        // Enough free slots for a short search.
        assert!(TABLE.iter().filter(|slot| **slot == 0).count() > SLOTS / 2);
    }

    #[test]
    fn another_case_is_seen_and_what_is_no_member_is_not() {
        for text in [
            r#"{"NoNewPrivileges": true}"#,
            "{\"linux\": {\"maskedpaths\" \n\t: []}}",
            r#"{"\u006eoNewPrivileges": true}"#,
            "{\"\u{212a}ernel\": 1}",
            r#"{"a": 1,"pagesize":"2MB"}"#,
        ] {
            assert!(differs(text), "{text}");
        }
        for text in [
            r#"{"noNewPrivileges": true, "linux": {"maskedPaths": ["/A:b", "Linux"]}}"#,
            r#"{"annotations": {"Com.Example": "{\"Linux\": \"Type\"}", "x:Linux": ""}}"#,
            r#"{"annotations": {"io.kubernetes.cri-o.Annotations": "A very long key: Linux"}}"#,
            ":\"::\"\"::",
            "\":",
            "",
            "{\"\\",
        ] {
            assert!(!differs(text), "{text}");
        }
    }
}
