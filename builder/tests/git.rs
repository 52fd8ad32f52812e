//! Whose git it is: a Dockerfile's repositories are fetched with nothing of the user's, and no program of the user's sees a file.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]
#![expect(dead_code, reason = "the other users of the server and the site use the rest")]

mod http;
mod site;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use http::{Answer, Request, Server};
use site::Site;

/// `user:word`, as the user's git and the user's curl know it.
const USERS: &str = "Basic dXNlcjp3b3Jk";
/// `me:hid=den`.
const WRITTEN: &str = "Basic bWU6aGlkPWRlbg==";

/// A repository whose every file is to go through the filter `own`.
fn repository(at: &Path) {
    let git = |words: &[&str]| {
        let who = ["-c", "user.name=a", "-c", "user.email=a@b"];
        let run = Command::new("git").args(who).args(words).current_dir(at).env("HOME", at).output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    };
    fs::create_dir_all(at).unwrap();
    fs::write(at.join("Dockerfile"), "FROM scratch\nCOPY file /\n").unwrap();
    fs::write(at.join("file"), "in git").unwrap();
    fs::write(at.join(".gitattributes"), "* filter=own\n").unwrap();
    git(&["init", "--quiet", "--initial-branch=main"]);
    git(&["add", "."]);
    git(&["commit", "--quiet", "-m", "one"]);
    git(&["update-server-info"]);
}

/// The repository's files, for whoever has the login `wanted`.
fn serve(at: &Path, wanted: Option<&'static str>, seen: impl Fn(&Request) + Send + Sync + 'static) -> Server {
    let files = at.join(".git");
    Server::start(move |request| {
        seen(request);
        if wanted.is_some_and(|wanted| request.header("authorization") != Some(wanted)) {
            return Answer::status(401).header("WWW-Authenticate", "Basic realm=\"x\"");
        }
        let name = request.path.trim_start_matches("/r.git/").split('?').next().unwrap_or_default();
        fs::read(files.join(name)).map_or_else(|_| Answer::status(404), |bytes| Answer::ok(&bytes))
    })
}

/// Builds with a home whose git is configured with this.
fn build(site: &Site, config: &str, words: &[&str]) -> Output {
    site.write("home/.gitconfig", config.as_bytes());
    let home = site.path("home");
    let config = home.join(".config");
    let env = [
        ("HOME", home.to_str().unwrap()),
        ("XDG_CONFIG_HOME", config.to_str().unwrap()),
        ("GIT_CONFIG_COUNT", "1"),
        ("GIT_CONFIG_KEY_0", "http.extraHeader"),
        ("GIT_CONFIG_VALUE_0", "X-Own: secret"),
    ];
    let verb = ["build", "--progress", "quiet", "--network", "none", "--no-cache", "-o", "out"];
    site.builder_with(&env, &[&verb[..], words].concat(), b"")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_dockerfile_gets_no_login_of_the_users_and_the_command_line_does() {
    let site = Site::new("");
    repository(&site.path("repository"));
    let server = serve(&site.path("repository"), Some(USERS), |_| {});
    let address = format!("http://{}/r.git", server.authority());
    site.write("home/.netrc", b"machine 127.0.0.1 login user password word\n");
    site.write("context/Dockerfile", format!("FROM scratch\nADD {address} /\n").as_bytes());
    let helper = "[credential]\n\thelper = \"!f() { echo username=user; echo password=word; }; f\"\n";
    for config in ["", helper] {
        let refused = build(&site, config, &["context"]);
        assert!(!refused.status.success());
        assert_eq!(
            said(&refused).lines().last().unwrap(),
            format!(
                "builder: run git ls-remote for {address}: could not read Username for 'http://{}': terminal prompts disabled (a Dockerfile gets no login of the user's: name the repository with --build-context)",
                server.authority()
            )
        );
    }
    for request in server.requests() {
        assert_eq!((request.header("authorization"), request.header("x-own")), (None, None));
    }
    let named = build(&site, helper, &[&address]);
    assert!(named.status.success(), "{}", said(&named));
    assert_eq!(server.requests().pop().unwrap().header("x-own"), Some("secret"));
}

#[test]
fn no_filter_of_the_users_runs() {
    let site = Site::new("");
    repository(&site.path("repository"));
    let server = serve(&site.path("repository"), None, |_| {});
    let address = format!("http://{}/r.git", server.authority());
    let ran = site.path("ran");
    let config = format!(
        "[filter \"own\"]\n\tsmudge = \"touch {0}; cat\"\n\trequired = true\n[core]\n\tfsmonitor = \"touch {0}; false\"\n",
        ran.display()
    );
    site.write("context/Dockerfile", format!("FROM scratch\nADD {address} /\n").as_bytes());
    for context in ["context", &address] {
        let built = build(&site, &config, &[context]);
        assert!(built.status.success(), "{}", said(&built));
        assert_eq!(fs::read_to_string(site.path("out/file")).unwrap(), "in git", "{context}");
        assert!(!ran.exists(), "it ran for {context}");
        fs::remove_dir_all(site.path("out")).unwrap();
    }
}

#[test]
fn a_dockerfiles_address_is_not_rewritten() {
    let site = Site::new("");
    repository(&site.path("repository"));
    let server = serve(&site.path("repository"), None, |_| {});
    let address = format!("http://{}/r.git", server.authority());
    site.write("context/Dockerfile", format!("FROM scratch\nADD {address} /\n").as_bytes());
    let config = "[url \"ssh://git@h.example/\"]\n\tinsteadOf = http://127.0.0.1\n";
    let built = build(&site, config, &["context"]);
    assert!(built.status.success(), "{}", said(&built));
}

/// Whoever is on the machine may read a process's arguments.
#[test]
fn a_login_in_an_address_is_in_no_arguments_whatever_is_in_it() {
    let site = Site::new("");
    repository(&site.path("repository"));
    let told = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&told);
    let server = serve(&site.path("repository"), Some(WRITTEN), move |_| {
        let arguments = |entry: fs::DirEntry| fs::read(entry.path().join("cmdline")).ok();
        let all = fs::read_dir("/proc").unwrap().flatten().filter_map(arguments);
        let all = all.map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "));
        seen.lock().unwrap().extend(all.filter(|line| line.contains("me:hid")));
    });
    for login in ["me:hid=den", "me:hid%3Dden"] {
        let address = format!("http://{login}@{}/r.git", server.authority());
        site.write("context/Dockerfile", format!("FROM scratch\nADD {address} /\n").as_bytes());
        let built = build(&site, "", &["context"]);
        assert!(built.status.success(), "{}", said(&built));
    }
    assert_eq!(*told.lock().unwrap(), Vec::<String>::new());
}
