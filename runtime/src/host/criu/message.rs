//! Requests to CRIU's service and its answers (images/rpc.proto in CRIU's source: the numbers of its fields).

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::fields::{Fields, Value, read};
use crate::plan::criu::{CgroupMode, External, Options, Switch};

/// What is asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    Dump,
    PreDump,
    Restore,
    FeatureCheck,
    Version,
}

impl Deed {
    fn number(self) -> u64 {
        match self {
            Self::Dump => 1,
            Self::Restore => 2,
            Self::PreDump => 4,
            Self::FeatureCheck => 9,
            Self::Version => 10,
        }
    }

    /// As CRIU calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Dump => "DUMP",
            Self::Restore => "RESTORE",
            Self::PreDump => "PRE_DUMP",
            Self::FeatureCheck => "FEATURE_CHECK",
            Self::Version => "VERSION",
        }
    }
}

const NOTIFY: u64 = 6;

/// What only the host knows: descriptors and processes. Those of directories are this process' own, which CRIU opens by way of /proc;
/// the others are numbers in CRIU's process.
#[derive(Debug, Default)]
pub(super) struct Handles {
    pub(super) images: i32,
    pub(super) work: Option<i32>,
    pub(super) pid: Option<i32>,
    pub(super) log_file: &'static str,
    pub(super) root: PathBuf,
    pub(super) freezer: Option<PathBuf>,
    /// Controllers and path, as /proc/PID/cgroup shows them.
    pub(super) cgroup_roots: Vec<(String, String)>,
    /// Namespaces that stay outside of the images: `net[INODE]:KEY`.
    pub(super) external: Vec<String>,
    /// Key and descriptor.
    pub(super) inherit: Vec<(String, i32)>,
    /// Kind of namespace and file.
    pub(super) join: Vec<(&'static str, PathBuf)>,
    /// Mounts by their place in the container, with their names.
    pub(super) mounts: Vec<External>,
}

/// Everything but the deed itself: `Deed::FeatureCheck` and `Deed::Version` have none.
pub(super) fn options(options: &Options, handles: &Handles) -> Fields {
    let path = |path: &std::path::Path| path.as_os_str().as_bytes().to_vec();
    let mut fields = Fields::default()
        .number(1, number(handles.images))
        .number(9, LOG_EVERYTHING)
        .bytes(10, handles.log_file.as_bytes())
        .bytes(13, &path(&handles.root))
        .number(34, mode(options.cgroups))
        .number(38, EMPTY_NETWORK);
    for switch in &options.switches {
        fields = fields.number(field(*switch), 1);
    }
    let numbers = [(2, handles.pid), (17, handles.work)];
    for (field, value) in numbers {
        fields = value.into_iter().fold(fields, |fields, value| fields.number(field, number(value)));
    }
    if let Some(server) = &options.page_server {
        let server = Fields::default().bytes(1, server.address.as_bytes()).number(2, server.port.into());
        fields = fields.part(11, &server);
    }
    let texts = [
        (14, options.parent.as_deref().map(path)),
        (44, handles.freezer.as_deref().map(path)),
        (51, options.config.clone().map(String::into_bytes)),
        (53, options.lsm_profile.clone().map(String::into_bytes)),
        (63, options.lsm_mount_context.clone().map(String::into_bytes)),
    ];
    for (field, value) in texts {
        fields = value.into_iter().fold(fields, |fields, value| fields.bytes(field, &value));
    }
    lists(fields, handles)
}

fn lists(mut fields: Fields, handles: &Handles) -> Fields {
    for External { destination, source } in &handles.mounts {
        let (key, value) = (destination.as_os_str().as_bytes(), source.as_os_str().as_bytes());
        fields = fields.part(23, &Fields::default().bytes(1, key).bytes(2, value));
    }
    for (controllers, path) in &handles.cgroup_roots {
        let root = Fields::default().bytes(1, controllers.as_bytes()).bytes(2, path.as_bytes());
        fields = fields.part(25, &root);
    }
    for (key, fd) in &handles.inherit {
        fields = fields.part(27, &Fields::default().bytes(1, key.as_bytes()).number(2, number(*fd)));
    }
    for external in &handles.external {
        fields = fields.bytes(37, external.as_bytes());
    }
    for (kind, file) in &handles.join {
        let join = Fields::default().bytes(1, kind.as_bytes()).bytes(2, file.as_os_str().as_bytes());
        fields = fields.part(39, &join);
    }
    fields
}

const LOG_EVERYTHING: u64 = 4;
/// Interfaces and addresses are whoever's who made them: the engine's, or a hook's.
const EMPTY_NETWORK: u64 = libc::CLONE_NEWNET as u64;

fn number(value: i32) -> u64 {
    i64::from(value).cast_unsigned()
}

fn mode(mode: CgroupMode) -> u64 {
    match mode {
        CgroupMode::Ignore => 0,
        CgroupMode::Soft => 3,
        CgroupMode::Full => 4,
        CgroupMode::Strict => 5,
        CgroupMode::Default => 6,
    }
}

fn field(switch: Switch) -> u32 {
    match switch {
        Switch::LeaveRunning => 3,
        Switch::ExtUnixSk => 4,
        Switch::TcpEstablished => 5,
        Switch::EvasiveDevices => 6,
        Switch::ShellJob => 7,
        Switch::FileLocks => 8,
        Switch::NotifyScripts => 12,
        Switch::TrackMem => 15,
        Switch::AutoDedup => 16,
        Switch::LinkRemap => 18,
        Switch::ManageCgroups => 24,
        Switch::RstSibling => 26,
        Switch::TcpSkipInFlight => 46,
        Switch::LazyPages => 48,
        Switch::OrphanPtsMaster => 50,
    }
}

/// A request.
pub(super) fn request(deed: Deed, options: Option<&Fields>) -> Fields {
    let request = Fields::default().number(1, deed.number());
    match (deed, options) {
        // Both are asked for; which of them is there, is in the answer.
        (Deed::FeatureCheck, _) => request.part(5, &Fields::default().number(1, 1).number(2, 1)),
        (_, Some(options)) => request.part(2, options),
        (_, None) => request,
    }
}

/// The reply to a notification: whether CRIU may go on.
pub(super) fn reply(success: bool) -> Fields {
    Fields::default().number(1, NOTIFY).number(3, success.into())
}

/// What CRIU says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) success: bool,
    pub(super) errno: i32,
    pub(super) message: Option<String>,
    pub(super) notify: Option<Notify>,
    pub(super) version: Option<i32>,
    pub(super) features: Features,
}

/// It has come to a point where something can be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Notify {
    pub(super) script: String,
    pub(super) pid: i32,
}

/// What this CRIU can do on this kernel.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Features {
    pub(super) mem_track: bool,
    pub(super) lazy_pages: bool,
}

/// None where it is not one of CRIU's messages.
pub(super) fn answer(bytes: &[u8]) -> Option<Answer> {
    let mut answer = Answer::default();
    let mut is_notification = false;
    for (field, value) in read(bytes)? {
        match field {
            1 => is_notification = value == Value::Number(NOTIFY),
            2 => answer.success = value == Value::Number(1),
            5 => answer.notify = Some(notify(&value.part()?)),
            7 => answer.errno = value.int()?,
            8 => answer.features = features(&value.part()?),
            9 => answer.message = value.text().filter(|text| !text.is_empty()),
            10 => answer.version = version(&value.part()?),
            _ => {}
        }
    }
    if is_notification && answer.notify.is_none() {
        answer.notify = Some(Notify::default());
    }
    Some(answer)
}

fn notify(fields: &[(u32, Value<'_>)]) -> Notify {
    let mut notify = Notify::default();
    for (field, value) in fields {
        match field {
            1 => notify.script = value.text().unwrap_or_default(),
            2 => notify.pid = value.int().unwrap_or(0),
            _ => {}
        }
    }
    notify
}

fn features(fields: &[(u32, Value<'_>)]) -> Features {
    let has = |number| fields.contains(&(number, Value::Number(1)));
    Features { mem_track: has(1), lazy_pages: has(2) }
}

/// Two digits each. What was built between two releases can do what the later one can.
fn version(fields: &[(u32, Value<'_>)]) -> Option<i32> {
    let number =
        |wanted| fields.iter().find(|(field, _)| *field == wanted).and_then(|(_, value)| value.int());
    let release = number(1)?.checked_mul(100)?.checked_add(number(2)?)?.checked_mul(100)?;
    let has_git_id = fields.iter().any(|(field, value)| *field == 3 && *value != Value::Bytes(b""));
    match has_git_id {
        true => release.checked_add(100),
        false => release.checked_add(number(4).unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_understood() {
        let version = Fields::default().number(1, 4).number(2, 1).number(4, 1);
        let told = Fields::default().number(1, 10).number(2, 1).part(10, &version);
        assert_eq!(answer(told.as_bytes()).unwrap().version, Some(40_101));
        let built = version.bytes(3, b"v4.1-8");
        let told = Fields::default().number(1, 10).number(2, 1).part(10, &built);
        assert_eq!(answer(told.as_bytes()).unwrap().version, Some(40_200));
        let features = Fields::default().number(1, 1).number(2, 0);
        let told = Fields::default().number(1, 9).number(2, 1).part(8, &features);
        let expected = Features { mem_track: true, lazy_pages: false };
        assert_eq!(answer(told.as_bytes()).unwrap().features, expected);
    }

    #[test]
    fn a_notification_has_a_script_and_a_process() {
        let notify = Fields::default().bytes(1, b"post-restore").number(2, 77);
        let told = Fields::default().number(1, NOTIFY).number(2, 1).part(5, &notify);
        let expected = Notify { script: "post-restore".to_owned(), pid: 77 };
        assert_eq!(answer(told.as_bytes()).unwrap().notify, Some(expected));
    }

    #[test]
    fn a_refusal_carries_the_number_and_the_words() {
        let told = Fields::default().number(1, 1).number(2, 0).number(7, 22).bytes(9, b"no");
        let answer = answer(told.as_bytes()).unwrap();
        assert_eq!((answer.success, answer.errno, answer.message.as_deref()), (false, 22, Some("no")));
    }

    #[test]
    fn options_hold_each_switch_and_each_list() {
        let asked = Options {
            switches: vec![Switch::LeaveRunning, Switch::OrphanPtsMaster],
            cgroups: CgroupMode::Strict,
            parent: Some("../p".into()),
            ..Options::default()
        };
        let handles = Handles {
            images: 5,
            pid: Some(9),
            log_file: "dump.log",
            inherit: vec![("pipe:[3]".to_owned(), 1)],
            join: vec![("uts", "/proc/1/ns/uts".into())],
            ..Handles::default()
        };
        let written = options(&asked, &handles);
        let fields = read(written.as_bytes()).unwrap();
        let value = |wanted| fields.iter().find(|(field, _)| *field == wanted).map(|(_, value)| *value);
        for (field, number) in [(1, 5), (2, 9), (3, 1), (34, 5), (38, 0x4000_0000), (50, 1)] {
            assert_eq!(value(field), Some(Value::Number(number)), "{field}");
        }
        assert_eq!(value(14), Some(Value::Bytes(b"../p")));
        let inherit = value(27).unwrap().part().unwrap();
        assert_eq!(inherit, [(1, Value::Bytes(b"pipe:[3]")), (2, Value::Number(1))]);
        let join = value(39).unwrap().part().unwrap();
        assert_eq!(join, [(1, Value::Bytes(b"uts")), (2, Value::Bytes(b"/proc/1/ns/uts"))]);
        assert_eq!(value(17), None);
    }
}
