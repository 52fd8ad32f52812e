//! Asks systemd for the scope of a container, and for its end.
//!
//! Invariant: a unit is started and stopped only by the name in the plan or the record, and every request waits for its job.

mod bus;
mod message;

use std::cell::Cell;

pub use bus::socket;
use bus::{Connection, Refused};
use message::{Body, Reader};

use crate::error::{Error, Kind};
use crate::plan::cgroup::property;
use crate::plan::cgroup::systemd::{Bus, Property, Scope, Value};

/// Starts the scope around a process that exists. A failed unit of that name from an earlier life is forgotten first. `asked` becomes true
/// once a unit of that name is ours.
pub(super) fn start(scope: &Scope, pid: i32, asked: &Cell<bool>) -> Result<(), Error> {
    let mut connection = Connection::open(scope.bus)?;
    connection.manager("Subscribe", "", &Body::default())?;
    let mut properties = known(&mut connection, &scope.properties)?;
    properties.push(Property { name: "PIDs".to_owned(), value: Value::Pids(vec![pid.cast_unsigned()]) });
    let mut body = Body::default();
    body.text(&scope.unit);
    body.text("replace");
    body.properties(&properties);
    body.array(8, |_| {});
    let answer = match connection.manager("StartTransientUnit", "ssa(sv)a(sa(sv))", &body) {
        Err(Refused::Named { name, .. }) if name.ends_with(".UnitExists") => {
            reset(&mut connection, &scope.unit);
            connection.manager("StartTransientUnit", "ssa(sv)a(sa(sv))", &body)
        }
        other => other,
    };
    let answer = answer.map_err(|refused| at(&scope.unit, "start", refused))?;
    asked.set(true);
    wait(&mut connection, &answer.body, &scope.unit)
}

/// Stops the scope; one that has gone with its last process is no error.
pub(super) fn stop(unit: &str, bus: Bus) -> Result<(), Error> {
    let mut connection = Connection::open(bus)?;
    connection.manager("Subscribe", "", &Body::default())?;
    let mut body = Body::default();
    body.text(unit);
    body.text("replace");
    match connection.manager("StopUnit", "ss", &body) {
        Ok(answer) => wait(&mut connection, &answer.body, unit)?,
        Err(Refused::Named { name, .. }) if name.ends_with(".NoSuchUnit") => {}
        Err(refused) => return Err(at(unit, "stop", refused)),
    }
    reset(&mut connection, unit);
    Ok(())
}

/// Forgets a scope that has gone, in case that it is on the books as failed. One that runs is left alone.
pub(super) fn forget(unit: &str, bus: Bus) {
    if let Ok(mut connection) = Connection::open(bus) {
        reset(&mut connection, unit);
    }
}

/// Puts another process into the scope, or `below` it: a rootless caller may not write to its files from outside.
pub(super) fn attach(unit: &str, below: &str, bus: Bus, pid: i32) -> Result<(), Error> {
    let mut body = Body::default();
    body.text(unit);
    body.text(below);
    body.array(4, |pids| pids.u32(pid.cast_unsigned()));
    let attached = Connection::open(bus)?.manager("AttachProcessesToUnit", "ssau", &body);
    attached.map(drop).map_err(|refused| at(unit, "enter", refused))
}

/// Changes properties until the next boot.
pub(super) fn set(unit: &str, bus: Bus, properties: &[Property]) -> Result<(), Error> {
    if properties.is_empty() {
        return Ok(());
    }
    let mut connection = Connection::open(bus)?;
    let mut body = Body::default();
    body.text(unit);
    body.u32(1);
    body.properties(&known(&mut connection, properties)?);
    let set = connection.manager("SetUnitProperties", "sba(sv)", &body);
    set.map(drop).map_err(|refused| at(unit, "change", refused))
}

/// Without what this systemd is too old for; the files get it all the same.
fn known(connection: &mut Connection, properties: &[Property]) -> Result<Vec<Property>, Error> {
    let since = |one: &Property| match (one.name.as_str(), &one.value) {
        (property::WEIGHT, Value::U64(property::IDLE)) => property::IDLE_SINCE,
        (property::OOM, _) => property::OOM_SINCE,
        _ => 0,
    };
    let mut properties = properties.to_vec();
    if properties.iter().any(|one| since(one) > 0) {
        let release = connection.release()?;
        properties.retain(|one| since(one) <= release);
    }
    Ok(properties)
}

/// A unit that has failed stays on systemd's books until it is told to forget it.
fn reset(connection: &mut Connection, unit: &str) {
    let mut body = Body::default();
    body.text(unit);
    // One that is not failed, or not there, is what was wanted.
    drop(connection.manager("ResetFailedUnit", "s", &body));
}

fn at(unit: &str, deed: &str, refused: Refused) -> Error {
    match refused {
        Refused::Named { name, text } => {
            Error::new(Kind::System, format!("have systemd {deed} {unit}: {text} ({name})"))
        }
        Refused::Broken(error) => error,
    }
}

/// Until the job that the answer names is done.
fn wait(connection: &mut Connection, answer: &[u8], unit: &str) -> Result<(), Error> {
    let job = Reader { bytes: answer, at: 0 }.text().unwrap_or_default();
    loop {
        let signal = connection.signal("JobRemoved")?;
        let mut reader = Reader { bytes: &signal.body, at: 0 };
        let (_, path, _, result) = (reader.u32(), reader.text(), reader.text(), reader.text());
        if path.as_deref() != Some(&job) {
            continue;
        }
        return match result.as_deref() {
            Some("done" | "skipped") => Ok(()),
            result => {
                let result = result.unwrap_or("nothing");
                Err(Error::new(
                    Kind::System,
                    format!("wait for systemd's job on {unit}: it ended with {result}"),
                ))
            }
        };
    }
}
