//! `RUN --device=VENDOR/CLASS=NAME[,required]`.

use super::Device;
use super::stage::Stage;
use crate::dockerfile::ast::Word;
use crate::dockerfile::diagnose;
use crate::error::Error;

/// The device that a word asks for. As elsewhere, it is optional unless it says `required`.
pub(super) fn lower(stage: &mut Stage<'_, '_>, word: &Word) -> Result<Device, Error> {
    let text = stage.text(word)?;
    let (mut name, mut required) = (None, false);
    for field in text.split(',') {
        match field.split_once('=') {
            None if field.eq_ignore_ascii_case("required") => required = true,
            Some((key, value)) if key.eq_ignore_ascii_case("required") => {
                required = match value {
                    "true" | "1" => true,
                    "false" | "0" => false,
                    _ => return Err(stage.error(word, format!("required={value} is not true or false"))),
                };
            }
            Some((key, value)) if key.eq_ignore_ascii_case("name") && name.is_none() => {
                name = Some(value.to_owned());
            }
            _ if name.is_none() => name = Some(field.to_owned()),
            _ => {
                let key = field.split('=').next().unwrap_or_default();
                let near = diagnose::suggestion(key, ["name", "required"]);
                return Err(stage.error(word, format!("device option {key} is not known{near}")));
            }
        }
    }
    match name {
        Some(name) if name.contains('/') => Ok(Device { name, required }),
        _ => Err(stage.error(word, "a device is named VENDOR/CLASS[=NAME]")),
    }
}
