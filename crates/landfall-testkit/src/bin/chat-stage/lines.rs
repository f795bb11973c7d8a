//! Questions and answers as lines of JSON: `{"id": 1, "do": "run"}` is answered with `{"id": 1, "ok": …}` or with
//! `{"id": 1, "error": "…"}`, whenever the answer is there. Other questions are answered meanwhile.

use std::{io::Write as _, path::PathBuf, sync::Arc};

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

/// What a question came to; an error is a sentence.
pub(crate) type Answer = Result<Value, String>;

/// Whoever answers.
pub(crate) trait Answers: Send + Sync + 'static {
    /// Answers one question.
    fn answer(self: Arc<Self>, question: Value) -> BoxFuture<'static, Answer>;
}

/// Says `begun` on standard output, then answers what comes in on standard input until it ends.
pub(crate) async fn answer_input(begun: &Value, answers: Arc<dyn Answers>) {
    say(begun);
    let (sender, mut questions) = mpsc::unbounded_channel();
    // A thread of its own: it stands still until a line comes, and nobody waits for it at the end.
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    while let Some(line) = questions.recv().await {
        let answers = Arc::clone(&answers);
        tokio::spawn(async move { say(&answer_line(answers, &line).await) });
    }
}

/// Answers whoever connects.
pub(crate) async fn answer_connections(listener: TcpListener, answers: Arc<dyn Answers>) {
    while let Ok((mut socket, _)) = listener.accept().await {
        let answers = Arc::clone(&answers);
        tokio::spawn(async move {
            let (read, mut write) = socket.split();
            let mut lines = BufReader::new(read).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let answer = format!("{}\n", answer_line(Arc::clone(&answers), &line).await);
                if write.write_all(answer.as_bytes()).await.is_err() {
                    break;
                }
            }
        });
    }
}

/// Asks whoever listens at an address.
pub(crate) async fn ask(address: &str, question: &Value) -> Answer {
    let asked = async {
        let mut socket = TcpStream::connect(address).await?;
        socket.write_all(format!("{question}\n").as_bytes()).await?;
        let mut line = String::new();
        BufReader::new(socket).read_line(&mut line).await?;
        serde_json::from_str::<Value>(&line).map_err(std::io::Error::other)
    };
    let mut answer = asked.await.map_err(|error| format!("nobody answers at {address}: {error}"))?;
    match answer.get("error").and_then(Value::as_str) {
        Some(error) => Err(error.to_owned()),
        None => Ok(answer["ok"].take()),
    }
}

/// A field that is a path.
pub(crate) fn path(value: &Value) -> PathBuf {
    value.as_str().expect("it is a path").into()
}

async fn answer_line(answers: Arc<dyn Answers>, line: &str) -> Value {
    let question: Value = serde_json::from_str(line).expect("a question is JSON");
    let id = question["id"].clone();
    match answers.answer(question).await {
        Ok(answer) => json!({ "id": id, "ok": answer }),
        Err(error) => json!({ "id": id, "error": error }),
    }
}

fn say(line: &Value) {
    // Whoever listened may be gone; the end of the input tells.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
