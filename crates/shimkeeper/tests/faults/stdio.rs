// SPDX-License-Identifier: Apache-2.0
//! Standard input and output through pipes, and that nothing of them stays.

use rustix::fs::{CWD, FileType, Mode, mknodat};
use shimkeeper::{Kind, Stdio};
use shimkeeper_testkit::{Act, Method, Script, When};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::bench::{Bench, PATIENCE, chain, end, exec_request, kill_shim, request};
use crate::oracle;

#[tokio::test(flavor = "multi_thread")]
async fn output_is_read_to_its_end() {
    let bench = Bench::new().await;
    let request = request("one", &["echo", "hello"], &Script::new()).stdio(Stdio::Piped { stdin: false });
    let task = bench.manager.create(request).await.unwrap();
    let mut io = task.take_io().unwrap();
    assert!(io.stdin.is_none() && task.take_io().is_none());
    task.start().await.unwrap();
    task.wait().await.unwrap();
    task.delete().await.unwrap();
    let mut said = String::new();
    timeout(PATIENCE, io.stdout.as_mut().unwrap().read_to_string(&mut said)).await.unwrap().unwrap();
    assert_eq!(said, "hello\n");
    let mut complained = String::new();
    timeout(PATIENCE, io.stderr.as_mut().unwrap().read_to_string(&mut complained)).await.unwrap().unwrap();
    assert_eq!(complained, "");
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fifo_that_nobody_reads_is_no_file_for_output_and_not_waited_for() {
    let bench = Bench::new().await;
    let fifo = bench.dirs.path().join("unread");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let output = Stdio::File(fifo.clone());

    let request = request("one", &["sleep"], &Script::new()).stdio(output.clone());
    let error = timeout(PATIENCE, bench.manager.create(request)).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{}", chain(&error));

    let task = bench.honest("one", &["sleep"]).await;
    task.start().await.unwrap();
    let adding = task.exec(exec_request("late", &["sleep"]).stdio(output));
    let error = timeout(PATIENCE, adding).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{}", chain(&error));
    let exec = task.exec(exec_request("late", &["sleep"])).await.expect("the id is free");
    exec.delete().await.unwrap();

    std::fs::remove_file(fifo).unwrap();
    end(&task).await;
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn input_arrives_and_has_an_end() {
    let bench = Bench::new().await;
    let task = bench.honest("one", &["sleep"]).await;
    task.start().await.unwrap();
    let exec = task.exec(exec_request("cat", &["cat"]).stdio(Stdio::Piped { stdin: true })).await.unwrap();
    let io = exec.take_io().unwrap();
    let (mut stdin, mut stdout) = (io.stdin.unwrap(), io.stdout.unwrap());
    exec.start().await.unwrap();
    stdin.write_all(b"question").await.unwrap();
    let mut answer = [0; 8];
    timeout(PATIENCE, stdout.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"question");
    timeout(PATIENCE, stdin.shutdown()).await.unwrap().unwrap();
    assert_eq!(exec.wait().await.unwrap().status, 0);
    assert_eq!(stdin.write_all(b"x").await.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
    exec.delete().await.unwrap();
    let left = oracle::leftovers(&bench.dirs).fifos;
    assert!(left.iter().all(|fifo| fifo.ends_with("log")), "{left:?}");
    end(&task).await;
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_and_writers_of_a_dead_shim_see_the_end() {
    let bench = Bench::new().await;
    let request = request("one", &["sleep"], &Script::new()).stdio(Stdio::Piped { stdin: true });
    let task = bench.manager.create(request).await.unwrap();
    let io = task.take_io().unwrap();
    task.start().await.unwrap();
    kill_shim(&task);
    let mut said = Vec::new();
    timeout(PATIENCE, io.stdout.unwrap().read_to_end(&mut said)).await.unwrap().unwrap();
    bench.gone(&task).await;
    let mut stdin = io.stdin.unwrap();
    let writing = async { while stdin.write_all(&[0; 4096]).await.is_ok() {} };
    timeout(PATIENCE, writing).await.unwrap();
    drop(stdin);
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_exec_leaves_no_pipes_and_its_id() {
    let bench = Bench::new().await;
    let script = Script::new().on_nth(Method::Exec, 1, When::Before, Act::err(9, "not now"));
    let task = bench.create("one", &["sleep"], &script).await.unwrap();
    task.start().await.unwrap();
    let request = || exec_request("x", &["echo", "hi"]).stdio(Stdio::Piped { stdin: true });
    assert_eq!(task.exec(request()).await.unwrap_err().kind(), Kind::FailedPrecondition);
    let left = oracle::leftovers(&bench.dirs).fifos;
    assert!(left.iter().all(|fifo| fifo.ends_with("log")), "{left:?}");
    let exec = task.exec(request()).await.unwrap();
    exec.start().await.unwrap();
    let mut said = String::new();
    exec.wait().await.unwrap();
    let mut stdout = exec.take_io().unwrap().stdout.unwrap();
    exec.delete().await.unwrap();
    timeout(PATIENCE, stdout.read_to_string(&mut said)).await.unwrap().unwrap();
    assert_eq!(said, "hi\n");
    end(&task).await;
    bench.is_clean();
}
