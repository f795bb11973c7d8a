//! Threads for work that may never come back: a system call into a disk that is gone cannot be ended.

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

/// Threads of their own. Work that hangs keeps one for as long as it likes, and none that anybody else waits for.
///
/// Cheap to clone. Threads that have nothing to do end with the last clone.
#[derive(Clone, Default)]
pub struct Apart {
    idle: Arc<Mutex<Vec<mpsc::Sender<Job>>>>,
}

/// Threads that wait for more work; more than these end when they have nothing to do.
const IDLE_MAX: usize = 16;
/// Stack of a thread. Decoders run here too.
const STACK_BYTES: usize = 1 << 20;

struct Job {
    work: Box<dyn FnOnce() + Send>,
    /// Where the thread gets its next job from. It travels with the job, so that a thread nobody can reach any more ends.
    own: mpsc::Sender<Job>,
}

impl Apart {
    /// Starts `work` on a thread that has nothing to do, or on a new one. It is not waited for.
    ///
    /// # Errors
    /// If the system gives no more threads.
    pub fn start(&self, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let mut work: Box<dyn FnOnce() + Send> = Box::new(work);
        while let Some(own) = { lock(&self.idle).pop() } {
            match own.send(Job { work, own: own.clone() }) {
                Ok(()) => return Ok(()),
                Err(mpsc::SendError(job)) => work = job.work,
            }
        }
        let idle = Arc::downgrade(&self.idle);
        let (own, jobs) = mpsc::channel();
        let first = Job { work, own };
        thread::Builder::new()
            .name("source".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || serve(&idle, &jobs, first))?;
        Ok(())
    }
}

/// Waits for an answer, but not for longer than `patience`.
///
/// Time in which this process itself did not run hardly counts: after it was stopped, or the machine slept, whoever is to
/// answer has to be given a chance first.
///
/// # Errors
/// If there is none in time, or there will never be one.
pub fn hear<T>(answer: &mpsc::Receiver<T>, patience: Duration) -> Result<T, RecvTimeoutError> {
    const TURNS: u32 = 16;
    for _ in 1..TURNS {
        match answer.recv_timeout(patience / TURNS) {
            // However long it was: a pause is one turn.
            Err(RecvTimeoutError::Timeout) => {}
            heard => return heard,
        }
    }
    answer.recv_timeout(patience / TURNS)
}

fn serve(idle: &Weak<Mutex<Vec<mpsc::Sender<Job>>>>, jobs: &mpsc::Receiver<Job>, first: Job) {
    let mut job = first;
    loop {
        let Job { work, own } = job;
        work();
        {
            let Some(idle) = idle.upgrade() else { return };
            let mut idle = lock(&idle);
            if idle.len() >= IDLE_MAX {
                return;
            }
            idle.push(own);
        }
        match jobs.recv() {
            Ok(next) => job = next,
            Err(mpsc::RecvError) => return,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_hangs_holds_up_no_other_work() {
        let apart = Apart::default();
        let (release, held) = mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        for _ in 0..100 {
            let held = Arc::clone(&held);
            apart.start(move || assert!(lock(&held).recv().is_err(), "nothing is sent")).unwrap();
        }
        let (done, answer) = mpsc::channel();
        apart.start(move || done.send(7).unwrap()).unwrap();
        assert_eq!(answer.recv(), Ok(7));
        drop(release);
    }

    #[test]
    fn a_thread_that_has_nothing_to_do_is_used_again() {
        let apart = Apart::default();
        let (done, answer) = mpsc::channel();
        let mut threads = Vec::new();
        for _ in 0..2 {
            let done = done.clone();
            apart.start(move || done.send(thread::current().id()).unwrap()).unwrap();
            threads.push(answer.recv().unwrap());
            while lock(&apart.idle).is_empty() {
                thread::yield_now();
            }
        }
        assert_eq!(threads[0], threads[1]);
    }
}
