//! The table has every field of Kubernetes' types and nothing else; its verdicts reach the reader.

use super::*;
use k8s_openapi::api::apps::v1::{DaemonSetSpec, DeploymentSpec, ReplicaSetSpec, StatefulSetSpec};
use k8s_openapi::api::batch::v1::JobSpec;
use k8s_openapi::api::core::v1::{PersistentVolumeClaimSpec, PodSpec, ServiceSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::value::{Error as ValueError, StrDeserializer};
use serde::de::{self, Deserialize, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// What the types say about themselves: the fields of each, and the type inside each field.
#[derive(Default)]
struct Schema {
    fields: RefCell<BTreeMap<&'static str, &'static [&'static str]>>,
    inside: RefCell<BTreeMap<(&'static str, &'static str), &'static str>>,
}

/// A deserializer that says yes to everything and notes the names of all types and fields that it is asked for.
#[derive(Clone, Copy)]
struct Recorder<'a> {
    schema: &'a Schema,
    field: Option<(&'static str, &'static str)>,
}

impl Schema {
    fn of<T: for<'de> Deserialize<'de>>(&self) {
        assert!(T::deserialize(Recorder { schema: self, field: None }).is_ok());
    }
}

impl<'de> de::Deserializer<'de> for Recorder<'_> {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_str("2026-01-01T00:00:00Z")
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_bool(true)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_i32(1)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_i64(1)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_seq(Once { recorder: self, done: false })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_map(Once { recorder: self, done: false })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        if let Some(field) = self.field {
            self.schema.inside.borrow_mut().insert(field, name);
        }
        let known = self.schema.fields.borrow_mut().insert(name, fields).is_some();
        let fields = if known { &[] } else { fields };
        visitor.visit_map(Fields { recorder: self, owner: name, fields, next: 0 })
    }

    forward_to_deserialize_any! {
        i8 i16 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct tuple tuple_struct enum identifier
        ignored_any
    }
}

/// A list or a map with one element.
struct Once<'a> {
    recorder: Recorder<'a>,
    done: bool,
}

impl<'de> de::SeqAccess<'de> for Once<'_> {
    type Error = ValueError;

    fn next_element_seed<T: de::DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ValueError> {
        let done = std::mem::replace(&mut self.done, true);
        if done { Ok(None) } else { seed.deserialize(self.recorder).map(Some) }
    }
}

impl<'de> de::MapAccess<'de> for Once<'_> {
    type Error = ValueError;

    fn next_key_seed<K: de::DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ValueError> {
        let done = std::mem::replace(&mut self.done, true);
        let key: StrDeserializer<'_, ValueError> = "key".into_deserializer();
        if done { Ok(None) } else { seed.deserialize(key).map(Some) }
    }

    fn next_value_seed<V: de::DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ValueError> {
        seed.deserialize(self.recorder)
    }
}

/// An object with every field.
struct Fields<'a> {
    recorder: Recorder<'a>,
    owner: &'static str,
    fields: &'static [&'static str],
    next: usize,
}

impl<'de> de::MapAccess<'de> for Fields<'_> {
    type Error = ValueError;

    fn next_key_seed<K: de::DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ValueError> {
        // A whole object insists on its own apiVersion and kind.
        while self.fields.contains(&"metadata")
            && self.fields.get(self.next).is_some_and(|field| ["apiVersion", "kind"].contains(field))
        {
            self.next += 1;
        }
        let Some(field) = self.fields.get(self.next) else { return Ok(None) };
        let key: StrDeserializer<'_, ValueError> = (*field).into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: de::DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ValueError> {
        let field = self.fields[self.next];
        self.next += 1;
        seed.deserialize(Recorder { field: Some((self.owner, field)), ..self.recorder })
    }
}

#[test]
fn the_table_has_every_field_of_kubernetes_and_nothing_else() {
    let schema = Schema::default();
    schema.of::<ObjectMeta>();
    schema.of::<PodSpec>();
    schema.of::<DeploymentSpec>();
    schema.of::<ReplicaSetSpec>();
    schema.of::<StatefulSetSpec>();
    schema.of::<DaemonSetSpec>();
    schema.of::<JobSpec>();
    schema.of::<ServiceSpec>();
    schema.of::<PersistentVolumeClaimSpec>();
    let (fields, inside) = (schema.fields.into_inner(), schema.inside.into_inner());
    // Whole objects have the same fields, all of them.
    let specs = ["DeploymentSpec", "ReplicaSetSpec", "StatefulSetSpec", "DaemonSetSpec", "JobSpec", "ServiceSpec"];
    let mut waiting = [&["ObjectMeta", "PodSpec", "PersistentVolumeClaimSpec"], &specs[..]].concat();
    let mut expected: BTreeSet<(&str, &str)> = BTreeSet::new();
    for spec in waiting.iter().filter_map(|spec| spec.strip_suffix("Spec")) {
        expected.extend(["apiVersion", "kind", "metadata", "spec", "status"].map(|field| (spec, field)));
    }
    let mut seen = BTreeSet::new();
    while let Some(owner) = waiting.pop() {
        if !seen.insert(owner) {
            continue;
        }
        for field in fields[owner] {
            expected.insert((owner, field));
            let honoured = row(owner, field).is_some_and(|row| row.verdict == Verdict::Honoured);
            waiting.extend(inside.get(&(owner, *field)).filter(|_| honoured));
        }
    }
    for (owner, field) in &expected {
        let Some(row) = row(owner, field).filter(|row| row.verdict == Verdict::Honoured) else { continue };
        let real = inside.get(&(*owner, *field)).copied().filter(|inner| seen.contains(inner));
        // The kinds themselves were not asked, only their specs.
        if !["metadata", "spec"].contains(field) || owner.ends_with("Spec") {
            assert_eq!(explain::inside(row), real, "what is inside {owner}.{field}");
        }
    }
    let rows: Vec<_> = table().filter(|row| !row.field.contains('[')).map(|row| (row.owner, row.field)).collect();
    let unique: BTreeSet<_> = rows.iter().copied().collect();
    assert_eq!(rows.len(), unique.len(), "a field has two rows");
    assert_eq!(expected.difference(&unique).collect::<Vec<_>>(), [] as [&(&str, &str); 0], "fields without a row");
    assert_eq!(unique.difference(&expected).collect::<Vec<_>>(), [] as [&(&str, &str); 0], "rows without a field");
}

#[test]
fn every_verdict_but_honoured_has_a_reason() {
    for row in table() {
        assert_eq!(row.reason.is_empty(), row.verdict == Verdict::Honoured, "{}.{}", row.owner, row.field);
    }
}

#[test]
fn warns_of_what_is_set_and_not_of_written_defaults() {
    let pod: Pod = serde_json::from_value(serde_json::json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web", "creationTimestamp": null, "resourceVersion": "7"},
        "spec": {
            "dnsPolicy": "ClusterFirst", "hostNetwork": false, "nodeSelector": {"disk": "ssd"}, "securityContext": {},
            "containers": [{
                "name": "app", "image": "app.wasm", "tty": false, "stdin": true, "terminationMessagePath": "/dev/termination-log",
                "livenessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 5},
                "lifecycle": {"stopSignal": "SIGINT"},
                "securityContext": {"privileged": false, "runAsUser": 1000, "capabilities": {"drop": ["ALL"]}},
            }],
        },
    }))
    .unwrap();
    let warnings = warnings(&pod).unwrap();
    let text: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(text.join("\n"), @r#"
    spec.nodeSelector: ignored: there is one machine, and the pod runs on it
    spec.containers[0].stdin: ignored: standard input is empty
    spec.containers[0].lifecycle.stopSignal: ignored: a guest has no signal handlers, and learns of its stop in one way whatever the signal
    "#);
}
