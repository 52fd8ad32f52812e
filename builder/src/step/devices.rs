//! `RUN --device`: devices by name, as the files of this host describe them.

use super::Hands;
use crate::bundle::Devices;
use crate::error::{Error, Kind};
use crate::graph::Device;
use crate::progress::Stream;

/// What the devices of a RUN bring along. One that is not here is left out, unless the step requires it.
pub(super) fn grant(asked: &[Device], hands: &Hands<'_>) -> Result<Devices, Error> {
    let warn = |text: &str| hands.progress.log(Stream::Stderr, format!("warning: {text}\n").as_bytes());
    let mut granted = Devices::default();
    for Device { name, required } in asked {
        let is_here = hands.devices.grant(name, &mut granted, &warn)?;
        if is_here {
            continue;
        }
        let places: Vec<String> =
            hands.devices.directories.iter().map(|place| place.display().to_string()).collect();
        let text = format!("device {name} is not described in {}", places.join(", "));
        if *required {
            return Err(Error::new(Kind::Invalid, text));
        }
        warn(&text);
    }
    Ok(granted)
}
