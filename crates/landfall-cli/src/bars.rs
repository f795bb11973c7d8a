//! Progress: bars on a terminal, lines elsewhere. Only bytes that the destination holds count.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use landfall::ItemId;
use landfall_env::{Clock as _, SystemClock};

use crate::{human, output::Output};

/// Without a terminal, a line at least this often.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// How much of some work is done.
pub(crate) struct Bars {
    files: u64,
    files_done: u64,
    bytes: u64,
    bytes_done: u64,
    clock: SystemClock,
    shown: Shown,
}

enum Shown {
    Drawn { all: MultiProgress, total: ProgressBar, each: BTreeMap<ItemId, ProgressBar>, styles: Styles },
    Lines { at: Duration, tenth: u64 },
}

struct Styles {
    file: ProgressStyle,
}

impl Bars {
    /// Begins to show work on so many files with so many bytes.
    pub(crate) fn begin(out: &Arc<Output>, files: u64, bytes: u64, title: &str) -> Self {
        let shown = if out.has_bars() {
            let all = out.draw();
            let total = all.add(ProgressBar::new(bytes));
            total.set_style(style(
                "{msg} [{bar:28}] {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left",
            ));
            total.set_message(format!("0/{files}"));
            total.enable_steady_tick(Duration::from_millis(500));
            Shown::Drawn { all, total, each: BTreeMap::new(), styles: Styles { file: style("  [{bar:20}] {msg}") } }
        } else {
            out.note(&format!("{title}: {}, {}", human::count(files, "file"), human::size(bytes)));
            Shown::Lines { at: Duration::ZERO, tenth: 0 }
        };
        Self { files, files_done: 0, bytes, bytes_done: 0, clock: SystemClock::new(), shown }
    }

    /// A file is being worked on.
    pub(crate) fn begin_file(&mut self, item: ItemId, name: &str, bytes: u64) {
        if let Shown::Drawn { all, each, styles, .. } = &mut self.shown {
            let bar = all.add(ProgressBar::new(bytes));
            bar.set_style(styles.file.clone());
            bar.set_message(human::text(name));
            if let Some(before) = each.insert(item, bar) {
                before.finish_and_clear();
            }
        }
    }

    /// The destination holds `held` bytes of a file, `grown` more than before.
    pub(crate) fn grow(&mut self, out: &Output, item: ItemId, held: u64, grown: u64) {
        self.bytes_done += grown;
        if let Shown::Drawn { total, each, .. } = &self.shown {
            total.set_position(self.bytes_done.min(self.bytes));
            if let Some(bar) = each.get(&item) {
                bar.set_position(held);
            }
        }
        self.say(out, false);
    }

    /// A file needs no more work; `rest` bytes of it need not move.
    pub(crate) fn end_file(&mut self, out: &Output, item: ItemId, rest: u64, counts: bool) {
        self.files_done += u64::from(counts);
        self.bytes_done += rest;
        if let Shown::Drawn { total, each, .. } = &mut self.shown {
            total.set_position(self.bytes_done.min(self.bytes));
            total.set_message(format!("{}/{}", self.files_done, self.files));
            if let Some(bar) = each.remove(&item) {
                bar.finish_and_clear();
            }
        }
        self.say(out, false);
    }

    /// A file is put aside for now. It begins with what the destination holds when it is taken up again.
    pub(crate) fn put_file(&mut self, item: ItemId, held: u64) {
        self.bytes_done = self.bytes_done.saturating_sub(held);
        if let Shown::Drawn { total, each, .. } = &mut self.shown {
            total.set_position(self.bytes_done.min(self.bytes));
            if let Some(bar) = each.remove(&item) {
                bar.finish_and_clear();
            }
        }
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, out: &Output) {
        self.say(out, true);
    }

    /// The work has ended.
    pub(crate) fn finish(self, out: &Output) {
        if let Shown::Drawn { total, each, .. } = &self.shown {
            each.values().for_each(ProgressBar::finish_and_clear);
            total.finish_and_clear();
            out.clear();
        }
    }

    fn say(&mut self, out: &Output, time_alone: bool) {
        let now = self.clock.monotonic();
        let by_files = (self.files_done * 10).checked_div(self.files).unwrap_or(10);
        let done = (self.bytes_done * 10).checked_div(self.bytes).unwrap_or(by_files);
        let Shown::Lines { at, tenth } = &mut self.shown else { return };
        let is_late = now.saturating_sub(*at) >= LINE_EVERY;
        if !is_late && (time_alone || done <= *tenth || done >= 10) {
            return;
        }
        (*at, *tenth) = (now, done.max(*tenth));
        let percent = (self.bytes_done * 100).checked_div(self.bytes).unwrap_or(100).min(100);
        let (bytes, total) = (human::size(self.bytes_done.min(self.bytes)), human::size(self.bytes));
        out.note(&format!("{percent} %: {} of {} files, {bytes} of {total}", self.files_done, self.files));
    }
}

fn style(template: &str) -> ProgressStyle {
    let is_utf8 = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        .is_some_and(|value| value.to_ascii_lowercase().replace('-', "").contains("utf8"));
    let style = ProgressStyle::with_template(template).expect("the templates above are well-formed");
    style.progress_chars(if is_utf8 { "━╸ " } else { "=> " })
}
