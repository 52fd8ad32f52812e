//! What `builder build` does around its RUN steps: comparing two builds, limits, and results that come again.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::place::{PATIENCE, Place};
use super::web;
use crate::case::{Case, Ctx};
use crate::needs::Need;
use crate::process;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "chain/build-verify",
        source: "issue 5: builder build --verify names the files that differ",
        needs: &[Need::UserNamespaces],
        run: verify,
    },
    Case {
        name: "chain/build-limits",
        source: "issue 5: limits of RUN",
        needs: &[Need::UserNamespaces],
        run: limits,
    },
    Case {
        name: "chain/build-foreign-processor",
        source: "issue 5: multi-platform builds",
        needs: &[Need::UserNamespaces],
        run: foreign,
    },
    Case {
        name: "chain/build-same-result",
        source: "issue 5: cache keys by content",
        needs: &[Need::UserNamespaces],
        run: same_result,
    },
    Case {
        name: "chain/build-download-beside-steps",
        source: "issue 5: independent stages and steps run at once",
        needs: &[Need::UserNamespaces],
        run: download_beside_steps,
    },
    Case {
        name: "chain/build-cache-of-elsewhere",
        source: "issue 5: cache import and export",
        needs: &[Need::UserNamespaces],
        run: cache_of_elsewhere,
    },
    Case {
        name: "chain/build-cached-without-namespaces",
        source: "issue 5: a fully cached build takes less than 0.1 s of CPU",
        needs: &[Need::UserNamespaces, Need::Program("git")],
        run: cached_without_namespaces,
    },
];

/// Its file says a processor that nobody registers an emulator for.
fn foreign(ctx: &Ctx) -> Result<()> {
    let place = Place::new(ctx, "home", "http://127.0.0.1:1")?;
    let text = "FROM scratch\nCOPY --chmod=755 foreign /foreign\nRUN [\"/foreign\"]\n";
    let context = place.context("context", &[("Dockerfile", text)])?;
    let mut program = fs::read(format!("{context}/probe"))?;
    // ELF's e_machine, 0x5441: Fujitsu FR-V.
    program.get_mut(18..20).context("find the header")?.copy_from_slice(&0x5441_u16.to_le_bytes());
    fs::write(format!("{context}/foreign"), program)?;
    let hint =
        "it is for another processor: register an emulator with binfmt_misc (Debian: qemu-user-static)";
    let ended = place.run(&[&BUILD[..], &[&context]].concat())?.code(1)?;
    let line = ended.err.lines().last().unwrap_or_default().to_ascii_lowercase();
    let is_right = line.starts_with("builder: dockerfile line 3: run /foreign: ")
        && line.contains("exec format error")
        && line.ends_with(&format!("({})", hint.to_ascii_lowercase()));
    ensure!(is_right, "it says {:?}", ended.err);
    Ok(())
}

const BUILD: [&str; 5] = ["build", "--progress", "plain", "--network", "none"];

fn verify(ctx: &Ctx) -> Result<()> {
    let place = Place::new(ctx, "home", "http://127.0.0.1:1")?;
    let same = "FROM scratch\nCOPY probe /probe\nRUN [\"/probe\", \"write\", \"/same\", \"x\"]\n";
    let context = place.context("context", &[("Dockerfile", same)])?;
    let words = [&BUILD[..], &["--verify", &context]].concat();
    place.run(&words)?.success()?;
    let chance = "RUN [\"/probe\", \"copy\", \"/proc/sys/kernel/random/uuid\", \"/chance\"]\n";
    place.context("context", &[("Dockerfile", &format!("{same}{chance}"))])?;
    place.run(&words)?.code(1)?.says("builder: verify: a second build differs in /chance (")?;
    Ok(())
}

fn limits(ctx: &Ctx) -> Result<()> {
    let place = Place::new(ctx, "home", "http://127.0.0.1:1")?;
    let text = "FROM scratch\nCOPY probe /probe\nRUN [\"/probe\", \"show\"]\n";
    let context = place.context("context", &[("Dockerfile", text)])?;
    let words = [&BUILD[..], &["--ulimit", "nofile=64:128", "--shm-size", "1m", &context]].concat();
    let said = place.run(&words)?.success()?.err;
    ensure!(said.contains(r#""Max open files":["64","128"]"#), "the limit is not there: {said}");
    ensure!(said.contains("size=1024k"), "/dev/shm has another size: {said}");
    Ok(())
}

/// A stage that runs again and comes to the same file leaves what takes the file as it is.
fn same_result(ctx: &Ctx) -> Result<()> {
    let place = Place::new(ctx, "home", "http://127.0.0.1:1")?;
    let text = |comment: &str| {
        format!(
            "FROM scratch AS made\nCOPY probe /probe\nENV COMMENT={comment}\nRUN [\"/probe\", \"write\", \"/out\", \"x\"]\n\
             FROM scratch\nCOPY probe /probe\nCOPY --from=made /out /out\nRUN [\"/probe\", \"print\", \"after\"]\n"
        )
    };
    let context = place.context("context", &[("Dockerfile", &text("1"))])?;
    let words = [&BUILD[..], &[&context]].concat();
    let first = place.run(&words)?.success()?;
    ensure!(first.err.contains("after"), "the step did not run: {}", first.err);
    place.context("context", &[("Dockerfile", &text("2"))])?;
    let second = place.run(&words)?.success()?.out(&first.out)?;
    ensure!(!second.err.lines().any(|line| line.ends_with(" after")), "the step ran again: {}", second.err);
    Ok(())
}

/// A server answers when the step of another stage has been carried out, and no sooner.
fn download_beside_steps(ctx: &Ctx) -> Result<()> {
    for (name, copies) in [("first", ["one /file", "two /done"]), ("last", ["two /done", "one /file"])] {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let place = Place::new(ctx, name, "http://127.0.0.1:1")?;
        let copies: Vec<String> = copies.iter().map(|copy| format!("COPY --from={copy} /\n")).collect();
        let text = format!(
            "FROM scratch AS one\nADD http://{address}/file /file\nFROM scratch AS two\nCOPY probe /probe\n\
             RUN [\"/probe\", \"write\", \"/done\", \"x\", \",\", \"print\", \"it ran\"]\nFROM scratch\n{}",
            copies.concat()
        );
        let context = place.context("context", &[("Dockerfile", &text)])?;
        let mut running = place.start(&[&BUILD[..], &[&context]].concat())?;
        ensure!(
            process::readable(listener.as_fd(), Duration::from_secs(60))?,
            "nobody asks: {}",
            running.errors_so_far()?
        );
        let (mut connection, _) = listener.accept()?;
        process::until("the step of the other stage runs", Duration::from_secs(60), || {
            ensure!(running.ends_within(Duration::ZERO)?.is_none(), "it ended: {}", running.errors_so_far()?);
            Ok(running.errors_so_far()?.lines().any(|line| line.ends_with("it ran")))
        })
        .with_context(|| format!("the download stands {name}"))?;
        connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\none")?;
        drop(connection);
        let ended = running.end(Duration::from_secs(60))?.success()?;
        ensure!(ended.out.starts_with("sha256:"), "it gives {:?}", ended.out);
    }
    Ok(())
}

/// A store that has nothing takes every result from a cache, and gives the same image.
fn cache_of_elsewhere(ctx: &Ctx) -> Result<()> {
    let registry = super::registry::Registry::start(ctx)?;
    let place = Place::new(ctx, "home", "http://127.0.0.1:1")?;
    let text = "FROM scratch\nCOPY probe /probe\nRUN [\"/probe\", \"write\", \"/out\", \"x\"]\nRUN [\"/probe\", \"print\", \"after\"]\n";
    let context = place.context("context", &[("Dockerfile", text)])?;
    let reference = format!("{}/cache:1", registry.url().trim_start_matches("http://"));
    let local = ctx.path("cache").to_string_lossy().into_owned();
    let image = format!("{}/image:1", registry.url().trim_start_matches("http://"));
    let to = [format!("type=registry,ref={reference},mode=max"), format!("type=local,dest={local}")];
    let plain = [&BUILD[..], &["--cache-to", &to[0], "--cache-to", &to[1], &context]].concat();
    let first = place.run(&plain)?.success()?;
    let inline = [&BUILD[..], &["--cache-to", "type=inline", "-t", &image, "--push", &context]].concat();
    place.run(&inline)?.success()?;
    for from in [format!("type=local,src={local}"), reference, image] {
        fs::remove_dir_all(&place.store)?;
        let words = [&BUILD[..], &["--cache-from", &from, &context]].concat();
        let again = place.run(&words)?.success()?.out(&first.out)?;
        let ran = again.err.lines().any(|line| line.contains(" DONE "));
        ensure!(!ran, "a step was carried out with the cache {from}: {}", again.err);
    }
    place.verify_blobs()
}

/// A build that was made before needs nothing but the store, and a word from each address: no namespaces, no mounts.
fn cached_without_namespaces(ctx: &Ctx) -> Result<()> {
    let place = Place::new(ctx, "home", "http://127.0.0.1:1")?;
    let served = ctx.path("served");
    let repository = served_files(&served)?;
    let address = web::serve(served.clone())?;
    let text = |word: &str| {
        format!(
            "FROM scratch AS made\nCOPY probe /probe\nRUN [\"/probe\", \"write\", \"/out\", \"{word}\"]\n\
             FROM scratch AS added\nADD http://{address}/file /file\nADD {repository} /git/\n\
             FROM scratch\nCOPY Dockerfile /file\nCOPY --from=made /out /out\nCOPY --from=added /git /git\nADD http://{address}/file /\n",
            repository = repository.replace("HOST", &address.to_string()),
        )
    };
    let context = place.context("context", &[("Dockerfile", &text("x"))])?;
    let archive = ctx.path("image.tar").to_string_lossy().into_owned();
    let output = format!("type=oci,dest={archive}");
    let words = [&BUILD[..], &["-t", "made", "--output", &output, &context]].concat();
    let first = place.run(&words)?.success()?;
    let written = fs::read(&archive)?;
    let without = || {
        let builder = place.builder(&words);
        let mut command = Command::new(ctx.binaries.join("conformance"));
        command.args(["without", "clone3,mount_setattr,fsopen", "--"]).arg(builder.get_program());
        command.args(builder.get_args());
        command.envs(builder.get_envs().filter_map(|(name, value)| Some((name, value?))));
        process::run(&mut command, PATIENCE)
    };
    without()?.success()?.out(&first.out)?;
    ensure!(fs::read(&archive)? == written, "the archive is another one");
    // Not so where anything is to be carried out.
    fs::write(served.join("file"), "another")?;
    without()?.code(1)?.says("builder: make ")?;
    place.run(&words)?.success()?;
    without()?.success()?;
    place.context("context", &[("Dockerfile", &text("y"))])?;
    without()?.code(1)?.says("builder: make ")?;
    Ok(())
}

/// A file and a repository with one commit; gives the repository's address on `HOST`.
fn served_files(directory: &Path) -> Result<String> {
    let repository = directory.join("r.git");
    let git = |words: &[&str]| {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=a", "-c", "user.email=a@b"]).args(words);
        process::run(command.current_dir(&repository).env("HOME", directory), PATIENCE)?.success()
    };
    fs::create_dir_all(&repository)?;
    fs::write(directory.join("file"), "one")?;
    fs::write(repository.join("in-git"), "x")?;
    git(&["init", "--quiet", "--initial-branch=main"])?;
    git(&["add", "."])?;
    git(&["commit", "--quiet", "-m", "one"])?;
    git(&["update-server-info"])?;
    // What is served is the repository itself, under the name of one.
    fs::rename(repository.join(".git"), directory.join("bare.git"))?;
    Ok("http://HOST/bare.git#main".to_owned())
}
