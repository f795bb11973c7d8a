//! The course of a world: storms of faults, then peace, then a look at everything from outside.

use super::*;

/// The course of things.
impl World {
    pub(super) async fn live(&mut self) -> Outcome {
        let mut complaints = Vec::new();
        let mut restarts = 0;
        while self.chaos.state_left() > 0 && restarts < 400 {
            restarts += 1;
            self.storm().await;
        }
        let table = self.chaos.table();
        self.heal().await;
        match tokio::time::timeout(SETTLE_WITHIN, self.settle()).await {
            Ok(Ok(devices)) => match tokio::time::timeout(SETTLE_WITHIN, self.examine(devices)).await {
                Ok(found) => complaints.extend(found),
                Err(_) => complaints.push("it cannot be looked at within an hour".to_owned()),
            },
            Ok(Err(error)) => complaints.push(format!("it does not settle: {error}")),
            Err(_) => complaints.push("it does not settle within an hour".to_owned()),
        }
        self.kill_server();
        self.tap.let_go();
        let robbed = self.chaos.robbed().into_iter();
        complaints.extend(robbed.map(|process| format!("items were taken from {process}, which lived and went on")));
        complaints.extend(self.tap.seen().complaints.iter().cloned());
        Outcome {
            complaints,
            table,
            files: self.sources.len(),
            workers: self.workers,
            homes: self.homes.len(),
            is_embedded: self.is_embedded,
            trace: self.chaos.trace_hash() ^ self.device.trace() ^ self.store.trace().rotate_left(1),
            history: self.chaos.history(),
        }
    }

    /// Some workers at once, until all have ended one way or another, while faults strike.
    async fn storm(&mut self) {
        self.mend_server().await;
        let mut workers: Vec<Worker> = (0..self.workers).map(|number| self.worker(number % self.homes.len())).collect();
        let deadline = tokio::time::Instant::now() + SETTLE_WITHIN;
        let mut full_until: Option<tokio::time::Instant> = None;
        while !workers.is_empty() && tokio::time::Instant::now() < deadline {
            self.next_event(full_until, deadline).await;
            self.strike(&mut workers, &mut full_until);
            self.mend_server().await;
            workers = self.reap(workers).await;
        }
        for worker in workers {
            self.device.kill(worker.process);
            worker.task.abort();
            let _ = worker.task.await;
        }
        // With the last to have a journal open goes the index of its log, which the next builds again. To open it for a
        // look costs more than all looks.
        if self.random.chance(0.1) {
            self.tap.let_go();
        }
        self.device.set_free(u64::MAX);
        self.store.set_free(u64::MAX);
    }

    /// Waits until there is something to see to.
    async fn next_event(&self, full_until: Option<tokio::time::Instant>, deadline: tokio::time::Instant) {
        let now = tokio::time::Instant::now();
        // A server that could not be started is tried again.
        let again = (!self.has_server()).then(|| now + Duration::from_millis(100));
        let moments = self.homes.iter().filter_map(|home| home.unpause_at);
        let until = moments.chain(full_until).chain(again).fold(deadline, tokio::time::Instant::min);
        tokio::select! {
            () = self.chaos.stirred() => {
                // Not just at the step that it was decided at.
                tokio::time::sleep(Duration::from_millis(self.random.below(100))).await;
            }
            () = tokio::time::sleep_until(until) => {}
        }
    }

    /// Carries out what the seed has decided.
    fn strike(&mut self, workers: &mut Vec<Worker>, full_until: &mut Option<tokio::time::Instant>) {
        let now = tokio::time::Instant::now();
        let pending = self.chaos.take_pending();
        if let Some(pause) = pending.disk_full_ms {
            let disk = if self.random.chance(0.5) { &self.device } else { &self.store };
            disk.set_free(0);
            *full_until = Some(now + Duration::from_millis(pause));
        }
        if full_until.is_some_and(|until| until <= now) {
            *full_until = None;
            self.device.set_free(u64::MAX);
            self.store.set_free(u64::MAX);
        }
        if pending.clock_jump {
            // Away from the true time, or back to it.
            let jumps = [-3_600_000, 3_600_000];
            let jump = if self.jumped { 0 } else { jumps[below(&self.random, 2)] };
            self.jumped = jump != 0;
            self.clock.set_jump_ms(jump);
        }
        if pending.idle {
            self.add_work();
        }
        if pending.source_change {
            self.change_source();
        }
        if pending.person {
            let errand = self.person();
            workers.push(errand);
        }
        for home in 0..self.homes.len() {
            if self.homes[home].unpause_at.is_some_and(|at| at <= now) {
                self.homes[home].unpause_at = None;
                workers.push(self.errand(home, Errand::GoOn));
            }
        }
        if pending.power_cut {
            if !self.is_embedded && self.random.chance(0.5) {
                self.kill_server();
                self.store.power_cut(&self.random);
            } else {
                self.tap.let_go();
                for worker in workers.iter() {
                    self.device.kill(worker.process);
                    worker.task.abort();
                }
                self.device.power_cut(&self.random);
                self.restore_sources();
            }
        }
        if pending.server_crash {
            self.kill_server();
            if self.is_embedded && !workers.is_empty() {
                let worker = &workers[below(&self.random, workers.len())];
                self.device.kill(worker.process);
                worker.task.abort();
            }
        }
    }

    fn person(&mut self) -> Worker {
        let home = below(&self.random, self.homes.len());
        let number = self.random.next_u64();
        let errand = match self.random.below(6) {
            0 => Errand::Cancel(number),
            1 => Errand::Pause(None),
            2 => Errand::Pause(Some(number)),
            3 => Errand::GoOn,
            _ => Errand::Remove(number),
        };
        match errand {
            Errand::Pause(_) => {
                let pause = Duration::from_millis(2_000 + self.random.below(10_000));
                self.homes[home].was_paused = true;
                self.homes[home].unpause_at = Some(tokio::time::Instant::now() + pause);
            }
            Errand::Remove(_) => self.removals += 1,
            Errand::Cancel(_) | Errand::GoOn => {}
        }
        self.errand(home, errand)
    }

    /// Sees off the processes that have ended.
    async fn reap(&self, workers: Vec<Worker>) -> Vec<Worker> {
        let mut alive = Vec::new();
        for worker in workers {
            if !worker.task.is_finished() {
                alive.push(worker);
                continue;
            }
            self.device.kill(worker.process);
            match worker.task.await {
                Ok(Ok(())) => self.chaos.note(|| format!("{} ended", worker.process)),
                Ok(Err(error)) => self.chaos.note(|| format!("{} ended: {error}", worker.process)),
                Err(error) => {
                    if error.is_panic() && !error_is_crash(error) {
                        self.tap.complain(format!("{} panicked", worker.process));
                    }
                }
            }
        }
        alive
    }

    async fn heal(&mut self) {
        self.chaos.heal();
        self.chaos.note(|| "peace".to_owned());
        self.jumped = false;
        self.clock.set_jump_ms(0);
        self.device.set_free(u64::MAX);
        self.store.set_free(u64::MAX);
        self.mend_server().await;
        tokio::time::sleep(Duration::from_secs(60)).await;
    }

    /// Has every home do what is left to do. Returns a process at each.
    async fn settle(&mut self) -> Result<Vec<OpenDevice>, String> {
        for home in 0..self.homes.len() {
            if self.homes[home].was_paused {
                self.finish(self.errand(home, Errand::GoOn)).await?;
            }
        }
        let mut devices = Vec::new();
        for home in 0..self.homes.len() {
            let device = self.device(home);
            let settled = tokio::spawn(async move {
                let device = device.open().await?;
                device.work().await?;
                Ok::<_, String>(device)
            });
            devices.push(settled.await.map_err(|error| format!("a process left in peace died: {error}"))??);
        }
        self.tap.let_go();
        if self.random.chance(0.15) {
            self.end(devices);
            // Once more there is nothing to do, if the first time did its work.
            self.finish(self.worker(below(&self.random, self.homes.len()))).await?;
            devices = Vec::new();
            for home in 0..self.homes.len() {
                devices.push(self.device(home).open().await?);
            }
        }
        Ok(devices)
    }

    fn end(&self, devices: Vec<OpenDevice>) {
        for device in devices {
            self.device.kill(device.process);
        }
    }

    async fn finish(&self, worker: Worker) -> Result<(), String> {
        let ended = worker.task.await;
        self.device.kill(worker.process);
        ended.map_err(|error| format!("a process left in peace died: {error}"))?
    }

    /// Looks at everything, from outside.
    async fn examine(&mut self, devices: Vec<OpenDevice>) -> Vec<String> {
        if self.random.chance(0.15) {
            self.kill_server();
            self.start_server().await;
        }
        let mut complaints = Vec::new();
        for (home, device) in devices.iter().enumerate() {
            if home == 0 {
                complaints.extend(self.examine_restore(device).await);
            }
            complaints.extend(audit(self, home, &device.engine, &device.session).await);
        }
        // It sweeps what dead ones left; then nothing may be left.
        let own = devices.iter().find_map(|device| device.server.as_ref());
        match own.or(self.server.as_ref().and_then(|server| server.server.as_ref())) {
            Some(server) => complaints.extend(server.maintain().await.err().map(|error| format!("vault: {error}"))),
            None => complaints.push("the vault does not open".to_owned()),
        }
        self.end(devices);
        self.kill_server();
        let auditor = self.store.spawn();
        let vfs = SimVfs::register(&self.store, auditor, self.random.fork("server-auditor"));
        let (config, env) = (Self::server_config(&vfs), self.env(&self.store, auditor, true));
        complaints.extend(landfall_server::audit_in(&config, &env).into_iter().map(|line| format!("vault: {line}")));
        self.store.kill(auditor);
        complaints
    }

    /// Everything comes back: at a home, or on a machine that has only the vault and the keys.
    async fn examine_restore(&self, device: &OpenDevice) -> Vec<String> {
        let restored = if self.random.chance(0.2) {
            self.restore_elsewhere(device).await
        } else {
            restore(&device.engine, &device.session).await
        };
        let failed = restored.err().map(|error| format!("restore fails: {error}"));
        failed.into_iter().chain(self.compare()).collect()
    }

    async fn restore_elsewhere(&self, device: &OpenDevice) -> Result<(), String> {
        let fresh = Settings { ephemeral: true, vfs: None, ..self.settings(Path::new("/nowhere"), "") };
        let env = self.env(&self.device, device.process, false);
        let engine = Engine::open(fresh, env).await.map_err(|error| error.to_string())?;
        restore(&engine, &open_session(&engine, &device.vault).await?).await
    }

    fn compare(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        for source in self.sources.values() {
            let path = Path::new("/restored").join(source.path.strip_prefix("/").unwrap_or(&source.path));
            match self.device.read(&path) {
                Ok(bytes) if bytes == source.bytes => {}
                Ok(bytes) => {
                    complaints.push(format!("{} came back with other bytes ({})", source.path.display(), bytes.len()));
                }
                Err(error) => complaints.push(format!("{} did not come back: {error}", source.path.display())),
            }
        }
        complaints
    }
}

async fn restore(engine: &Engine, session: &Session) -> Result<(), String> {
    let target = RestoreTarget { folder: "/restored".into(), on_file: Arc::new(|_, _| {}) };
    let report = recipe::restore(engine, session, &target, &RestoreOptions::default()).await;
    let report = report.map_err(|error| error.to_string())?;
    match report.problems.first() {
        None => Ok(()),
        Some((place, code, message)) => Err(format!("{}: {code}: {message}", String::from_utf8_lossy(place))),
    }
}
