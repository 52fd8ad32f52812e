//! Members as Go reads them: a name in any case is that member's, and of one that is there twice the last counts. The types'
//! own reader knows only the exact name and leaves everything else out without a word, protections too.
//!
//! Invariant: only members of structures are respelled, by the names that the type itself tells; keys of maps (annotations,
//! sysctl, unified) stay as they are.

use std::collections::HashMap;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};
use serde_json::{Error, Map, Value};

/// A value to be read into a type, whose members get the names that the type has for them on the way.
pub(super) struct Members<'a>(pub(super) &'a mut Value);

impl<'de> Deserializer<'de> for Members<'_> {
    type Error = Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if let Value::Object(members) = self.0 {
            respell(members, fields);
        }
        self.deserialize_map(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Object(members) => visitor.visit_map(Pairs { left: members.iter_mut(), value: None }),
            // Go takes no list for a structure.
            Value::Array(_) => Err(serde::de::Error::invalid_type(serde::de::Unexpected::Seq, &visitor)),
            other => other.clone().deserialize_any(visitor),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(items) => visitor.visit_seq(Items(items.iter_mut())),
            other => other.clone().deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.0.clone().deserialize_enum(name, variants, visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.0.clone().deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string
        bytes byte_buf unit unit_struct tuple tuple_struct identifier
    }
}

struct Pairs<'a> {
    left: serde_json::map::IterMut<'a>,
    value: Option<&'a mut Value>,
}

impl<'de> MapAccess<'de> for Pairs<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((key, value)) = self.left.next() else { return Ok(None) };
        self.value = Some(value);
        let key: StrDeserializer<'_, Error> = key.as_str().into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        match self.value.take() {
            Some(value) => seed.deserialize(Members(value)),
            None => Err(serde::de::Error::custom("a value without a key")),
        }
    }
}

struct Items<'a>(std::slice::IterMut<'a, Value>);

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        self.0.next().map(|item| seed.deserialize(Members(item))).transpose()
    }
}

fn respell(members: &mut Map<String, Value>, fields: &[&str]) {
    let fits = |key: &String| fields.contains(&key.as_str());
    if members.keys().all(|key| fits(key) || !fields.iter().any(|field| is_same(key, field))) {
        return;
    }
    for (key, value) in std::mem::take(members) {
        let field = match fits(&key) {
            true => None,
            false => fields.iter().find(|field| is_same(&key, field)),
        };
        let name = field.map_or(key, |field| (*field).to_owned());
        let value = match members.remove(&name) {
            Some(earlier) => merged(earlier, value),
            None => value,
        };
        members.insert(name, value);
    }
}

/// Whether Go takes `key` for the member `name`: the two characters beyond ASCII are those that Unicode folds into it.
pub(super) fn is_same(key: &str, name: &str) -> bool {
    match key.is_ascii() {
        true => key.eq_ignore_ascii_case(name),
        false => key.replace('\u{212a}', "k").replace('\u{17f}', "s").eq_ignore_ascii_case(name),
    }
}

/// Go reads an object into what an earlier one of the name has left; anything else replaces it.
fn merged(earlier: Value, later: Value) -> Value {
    let (mut all, later) = match (earlier, later) {
        (Value::Object(earlier), Value::Object(later)) => (earlier, later),
        (_, later) => return later,
    };
    for (key, value) in later {
        match all.get_mut(&key) {
            Some(place) => *place = merged(place.take(), value),
            None => drop(all.insert(key, value)),
        }
    }
    Value::Object(all)
}

/// A text's first value, with what is there twice as Go has it.
pub(super) fn read(text: &str) -> Result<Value, Error> {
    let mut reader = serde_json::Deserializer::from_str(text);
    Tree::deserialize(&mut reader).map(|tree| tree.0)
}

struct Tree(Value);

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_any(Whole).map(Tree)
    }
}

struct Whole;

impl<'de> Visitor<'de> for Whole {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Tree(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    /// In the order of the last mention. Not by taking a member out of the middle of the map, which is a move of all that
    /// follow: a configuration may be large.
    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Value, A::Error> {
        let mut found: Vec<Option<(String, Value)>> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        while let Some((key, Tree(mut value))) = pairs.next_entry::<String, Tree>()? {
            let before = places.insert(key.clone(), found.len());
            if let Some((_, earlier)) = before.and_then(|at| found.get_mut(at)?.take()) {
                value = merged(earlier, value);
            }
            found.push(Some((key, value)));
        }
        Ok(Value::Object(found.into_iter().flatten().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::{Members, read};
    use oci_spec::runtime::Spec;
    use serde::Deserialize;

    fn spec(text: &str) -> Spec {
        Spec::deserialize(Members(&mut read(text).unwrap())).unwrap()
    }

    #[test]
    fn a_member_in_another_case_is_that_member() {
        let spec = spec(
            r#"{"OCIVersion": "1.0.2", "LINUX": {"MaskedPaths": ["/proc/acpi"], "\u212aernel": 1,
                "Sysctl": {"Net.Core": "1", "net.core": "2"}, "netdevices": {"Eth0": {"Name": "x"}},
                "resources": {"HugepageLimits": [{"pagesize": "2MB", "limit": 1}]}},
                "Annotations": {"Linux": "a", "linux": "b", "NoNewPrivileges": "c"}}"#,
        );
        let linux = spec.linux().as_ref().unwrap();
        assert_eq!(linux.masked_paths().as_deref(), Some(&["/proc/acpi".to_owned()][..]));
        let sysctl = linux.sysctl().as_ref().unwrap();
        assert_eq!((sysctl["Net.Core"].as_str(), sysctl["net.core"].as_str()), ("1", "2"));
        assert_eq!(linux.net_devices().as_ref().unwrap()["Eth0"].name().as_deref(), Some("x"));
        let limits = linux.resources().as_ref().unwrap().hugepage_limits().as_ref().unwrap();
        assert_eq!(limits[0].page_size(), "2MB");
        let mut keys: Vec<&String> = spec.annotations().as_ref().unwrap().keys().collect();
        keys.sort();
        assert_eq!(keys, ["Linux", "NoNewPrivileges", "linux"]);
    }

    #[test]
    fn the_last_of_several_counts_and_objects_are_merged() {
        let spec = spec(
            r#"{"hostname": "a", "Hostname": "b", "hostname": "c", "Linux": {"maskedPaths": ["/a"], "readonlyPaths": ["/r"]},
                "linux": {"maskedPaths": ["/b"], "namespaces": []}, "domainname": "x", "domainName": "y"}"#,
        );
        assert_eq!(spec.hostname().as_deref(), Some("c"));
        assert_eq!(spec.domainname().as_deref(), Some("y"));
        let linux = spec.linux().as_ref().unwrap();
        assert_eq!(linux.masked_paths().as_deref(), Some(&["/b".to_owned()][..]));
        assert_eq!(linux.readonly_paths().as_deref(), Some(&["/r".to_owned()][..]));
    }
}
