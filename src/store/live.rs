//! Options of a store that change while it is open.
//!
//! Floor 5.

use std::sync::Arc;

use crate::log::Log;
use crate::log::live::changed_live;
use crate::store::options::StoreOptions;
use crate::store::{Store, StoreInner};
use crate::words::error::{Error, Result};

impl Store {
    /// The options as they are now.
    pub fn current_options(&self) -> StoreOptions {
        (*self.inner.options()).clone()
    }

    /// Changes options while the store is open: budget, reserve, bounds, rated endurance, and the
    /// options of its logs.
    ///
    /// Logs that are open and were given no options of their own go by the new ones at once, as by
    /// [`Log::set_options`]; what of these needs a log to be opened anew counts from its next
    /// opening on. Bounds on what is open hold from the next log that is opened; a budget below
    /// what is taken makes appends do what their `on_full` says until it fits.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if an option cannot work or
    /// `background` differs, which needs reopening the store: nothing is changed then;
    /// [`Closed`](crate::ErrorKind::Closed). The first error of a log: all the others are changed
    /// all the same.
    ///
    /// # Examples
    /// ```
    /// # let tmp = tempfile::tempdir()?;
    /// let store = forebay::Store::options().budget_bytes(1 << 30).open(tmp.path())?;
    /// store.set_options(store.current_options().budget_bytes(256 << 20))?;
    /// assert_eq!(store.stats().budget_bytes, Some(256 << 20));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_options(&self, options: StoreOptions) -> Result<()> {
        let inner = &self.inner;
        inner.check_open()?;
        options.check().map_err(|error| error.at(&inner.dir))?;
        if options.background != inner.options().background {
            let text = "background cannot change while the store is open; nothing was changed";
            return Err(Error::invalid(text).at(&inner.dir));
        }
        inner.space.set_limit(options.budget_bytes, options.reserve_bytes);
        inner.reserve.resize(options.reserve_bytes);
        *inner.options.write() = Arc::new(options);
        // Where there is no room for the reserve, maintenance tries again.
        let _ = inner.reserve.fill();
        inner.change_logs()
    }
}

impl StoreInner {
    fn change_logs(self: &Arc<StoreInner>) -> Result<()> {
        let options = self.options();
        let slots = self.table.lock().open_slots();
        let mut first = Ok(());
        for slot in slots {
            let log: Log = {
                let state = slot.lock();
                match (state.usable(), &state.options) {
                    (Some(log), None) => self.handle(log),
                    _ => continue,
                }
            };
            let asked = options.of_log(&slot.log.name);
            first = first.and(log.set_options(changed_live(&log.current_options(), asked)));
        }
        first
    }
}
