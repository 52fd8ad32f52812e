//! `-info`: what this shim and its runtime can do.

use containerd_shim_protos::types::introspection::{RuntimeInfo, RuntimeVersion};
use protobuf::Message;
use protobuf::well_known_types::any::Any;

use crate::error::{Error, Kind};
use crate::options::Options;
use crate::runtime::{Choice, Runtime, argv};

/// How containerd names the JSON document that `runtime features` prints.
const FEATURES: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";

/// Takes the runtime's options as an `Any`, or nothing; gives a `RuntimeInfo`. A runtime without `features` has none.
pub(crate) fn info(stdin: &[u8]) -> Result<Vec<u8>, Error> {
    let any = Any::parse_from_bytes(stdin)
        .map_err(|e| Error::new(Kind::Invalid, format!("parse standard input: {e}")))?;
    let options = Options::parse(&any)?;
    let here = std::env::temp_dir();
    let runtime = Runtime::choose(&Choice { options: &options, bundle: &here, namespace: "", debug: false });
    let features = runtime.features(argv::features()).ok().filter(|json| is_json(json));
    let version = RuntimeVersion {
        version: env!("CARGO_PKG_VERSION").into(),
        revision: env!("CARGO_PKG_VERSION").into(),
        ..RuntimeVersion::default()
    };
    let info = RuntimeInfo {
        name: "io.containerd.coracle.v2".into(),
        version: Some(version).into(),
        options: Some(any).filter(|any| !any.type_url.is_empty()).into(),
        features: features.map(|value| Any { type_url: FEATURES.into(), value, ..Any::default() }).into(),
        ..RuntimeInfo::default()
    };
    info.write_to_bytes().map_err(|e| Error::new(Kind::System, format!("encode the answer: {e}")))
}

fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok()
}
