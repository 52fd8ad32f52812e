//! A ttrpc client of a few lines, and a shim to speak to.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use protobuf::Message;
use ttrpc::proto::{Request, Response};

pub(crate) const SHIM: &str = env!("CARGO_BIN_EXE_containerd-shim-coracle-v2");

/// No answer of a shim takes longer than this.
const PATIENCE: Duration = Duration::from_secs(20);

/// A bundle with a config.json that carries `annotations`.
pub(crate) fn bundle(top: &Path, id: &str, annotations: &str) -> PathBuf {
    let bundle = top.join(id);
    std::fs::create_dir(&bundle).unwrap();
    let config = format!(r#"{{"ociVersion":"1.0.2","annotations":{annotations}}}"#);
    std::fs::write(bundle.join("config.json"), config).unwrap();
    bundle
}

/// Runs the shim's binary in `bundle` with `stdin`.
pub(crate) fn run(bundle: &Path, arguments: &[&str], environment: &[(&str, &str)], stdin: &[u8]) -> Output {
    let mut child = Command::new(SHIM)
        .args(arguments)
        .envs(environment.iter().copied())
        .env_remove("MAX_SHIM_VERSION")
        .envs(environment.iter().copied())
        .current_dir(bundle)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(stdin).unwrap();
    child.wait_with_output().unwrap()
}

pub(crate) struct Client {
    socket: UnixStream,
    stream: u32,
}

impl Client {
    /// `address` is `unix://PATH`.
    pub(crate) fn connect(address: &str) -> Client {
        let socket = UnixStream::connect(address.strip_prefix("unix://").unwrap()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Client { socket, stream: 1 }
    }

    /// The bytes of the answer, or the error's code and text.
    pub(crate) fn call(
        &mut self,
        service: &str,
        method: &str,
        message: &impl Message,
    ) -> Result<Vec<u8>, (i32, String)> {
        let request = Request {
            service: service.into(),
            method: method.into(),
            payload: message.write_to_bytes().unwrap(),
            ..Request::default()
        };
        let payload = request.write_to_bytes().unwrap();
        let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes().to_vec();
        frame.extend(self.stream.to_be_bytes());
        frame.extend([1, 0]);
        frame.extend(payload);
        self.socket.write_all(&frame).unwrap();
        let mut header = [0; 10];
        self.socket.read_exact(&mut header).unwrap();
        assert_eq!(header[4..8], self.stream.to_be_bytes(), "the answer is to another call");
        assert_eq!(header[8], 2, "the answer is not a response");
        let length = u32::from_be_bytes(header[..4].try_into().unwrap());
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.socket.read_exact(&mut payload).unwrap();
        self.stream += 2;
        let response = Response::parse_from_bytes(&payload).unwrap();
        match response.status.code.value() {
            0 => Ok(response.payload),
            code => Err((code, response.status.message.clone())),
        }
    }

    /// Waits until the shim has closed the connection, which it does only by ending.
    pub(crate) fn wait_for_the_end(mut self) {
        let read = self.socket.read(&mut [0; 1]);
        // Reset: it was killed before it had accepted us.
        assert!(
            matches!(&read, Ok(0)) || read.as_ref().is_err_and(|e| e.kind() == ErrorKind::ConnectionReset),
            "{read:?}"
        );
    }
}
