//! What is prepared on one backend: equal texts once, whoever prepared them, and no more than a bound.
//!
//! A statement's meaning depends on more than its text: names without a schema, and how the text is read, are those of the
//! settings it was prepared under. So it is shared between sessions that prepared it under equal settings.

use std::sync::Arc;

use crate::state::settings::Settings;

/// Whose execution told the server the parameter types last: a session and its statement.
pub(crate) type Teller = (u32, u32);

/// The statements of one backend.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    entries: Vec<Entry>,
    /// Goes up with every removal: places found before it may hold something else now.
    version: u32,
    clock: u64,
    /// Ids to be closed with the next bytes sent.
    closing: Vec<u32>,
}

#[derive(Debug)]
struct Entry {
    text: Arc<[u8]>,
    settings: Arc<Settings>,
    id: u32,
    params: u16,
    columns: u16,
    used: u64,
    teller: Option<Teller>,
}

/// Where a statement was found prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// The backend.
    pub serial: u64,
    /// The statement's id there.
    pub id: u32,
    /// `None`: it is not shared.
    entry: Option<(usize, u32)>,
}

impl Place {
    /// A statement on this backend that no other session may use.
    pub fn private(serial: u64, id: u32) -> Self {
        Self { serial, id, entry: None }
    }

    /// Whether no other session may use it.
    pub fn is_private(&self) -> bool {
        self.entry.is_none()
    }
}

impl Prepared {
    /// Whether a place found before still holds its statement; counts as a use of it.
    pub fn holds(&mut self, place: &Place) -> bool {
        match place.entry {
            None => true,
            Some((at, version)) if version == self.version => {
                self.clock += 1;
                self.entries[at].used = self.clock;
                true
            }
            Some(_) => false,
        }
    }

    /// Where a text is prepared under these settings, with its numbers of parameters and columns.
    pub fn find(
        &mut self,
        serial: u64,
        text: &Arc<[u8]>,
        settings: &Arc<Settings>,
    ) -> Option<(Place, u16, u16)> {
        let same = |e: &Entry| Arc::ptr_eq(&e.text, text) && Arc::ptr_eq(&e.settings, settings);
        let at = self.entries.iter().position(same)?;
        self.clock += 1;
        let entry = &mut self.entries[at];
        entry.used = self.clock;
        let place = Place { serial, id: entry.id, entry: Some((at, self.version)) };
        Some((place, entry.params, entry.columns))
    }

    /// A statement has been prepared. One of the same text and settings is closed, and so is the least used one if there
    /// are more than `max`.
    pub fn add(
        &mut self,
        serial: u64,
        (text, settings): (&Arc<[u8]>, &Arc<Settings>),
        (id, params, columns): (u32, u16, u16),
        max: usize,
    ) -> Place {
        let same = |e: &Entry| Arc::ptr_eq(&e.text, text) && Arc::ptr_eq(&e.settings, settings);
        let surplus = self.entries.iter().position(same).or_else(|| {
            let least = self.entries.iter().enumerate().min_by_key(|(_, e)| e.used);
            least.filter(|_| self.entries.len() >= max).map(|(at, _)| at)
        });
        if let Some(at) = surplus {
            let entry = self.remove(at);
            self.closing.push(entry.id);
        }
        self.clock += 1;
        let (text, settings) = (Arc::clone(text), Arc::clone(settings));
        self.entries.push(Entry { text, settings, id, params, columns, used: self.clock, teller: None });
        Place { serial, id, entry: Some((self.entries.len() - 1, self.version)) }
    }

    fn remove(&mut self, at: usize) -> Entry {
        self.version = self.version.wrapping_add(1);
        self.entries.swap_remove(at)
    }

    /// Takes a statement away from the others: it is about to have a cursor or long data.
    pub fn isolate(&mut self, place: &Place) -> Place {
        if let Some((at, version)) = place.entry
            && version == self.version
        {
            self.remove(at);
        }
        Place { entry: None, ..*place }
    }

    /// Whether `teller` was the last to tell the server the types of this shared statement.
    pub fn told_by(&self, place: &Place, teller: Teller) -> bool {
        place.entry.is_some_and(|(at, _)| self.entries[at].teller == Some(teller))
    }

    /// `teller` tells the server the types.
    pub fn tell(&mut self, place: &Place, teller: Teller) {
        if let Some((at, _)) = place.entry {
            self.entries[at].teller = Some(teller);
        }
    }

    /// An id is of no more use.
    pub fn close(&mut self, id: u32) {
        self.closing.push(id);
    }

    /// The ids to be closed, which the caller sends.
    pub fn closing(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.closing)
    }

    /// The server has deallocated everything.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.closing.clear();
        self.version = self.version.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Arc<[u8]> {
        text.as_bytes().into()
    }

    #[test]
    fn equal_texts_under_equal_settings_are_prepared_once() {
        let (mut all, a, plain, other) = (
            Prepared::default(),
            text("a"),
            Arc::new(Settings::of_login(0)),
            Arc::new(Settings::of_login(0)),
        );
        let first = all.add(1, (&a, &plain), (7, 0, 1), 10);
        assert!(all.holds(&first));
        assert_eq!(all.find(1, &a, &plain), Some((first, 0, 1)));
        assert_eq!(all.find(1, &a, &other), None);
        assert_eq!(all.find(1, &text("a"), &plain), None);
        let again = all.add(1, (&a, &plain), (9, 0, 1), 10);
        assert!(!all.holds(&first) && all.holds(&again));
        assert_eq!(all.closing(), [7]);
    }

    #[test]
    fn the_least_used_statement_makes_room() {
        let (mut all, settings) = (Prepared::default(), Arc::new(Settings::of_login(0)));
        let texts = [text("a"), text("b"), text("c")];
        all.add(1, (&texts[0], &settings), (1, 0, 0), 2);
        all.add(1, (&texts[1], &settings), (2, 0, 0), 2);
        assert!(all.find(1, &texts[0], &settings).is_some());
        all.add(1, (&texts[2], &settings), (3, 0, 0), 2);
        assert_eq!(all.closing(), [2]);
        assert!(all.find(1, &texts[1], &settings).is_none() && all.find(1, &texts[0], &settings).is_some());
    }

    #[test]
    fn an_isolated_statement_is_found_by_no_other() {
        let (mut all, settings, a) = (Prepared::default(), Arc::new(Settings::of_login(0)), text("a"));
        let place = all.add(1, (&a, &settings), (1, 1, 0), 9);
        all.tell(&place, (5, 1));
        assert!(all.told_by(&place, (5, 1)) && !all.told_by(&place, (6, 1)));
        let own = all.isolate(&place);
        assert!(own.is_private() && all.holds(&own) && !all.holds(&place));
        assert!(all.find(1, &a, &settings).is_none() && all.closing().is_empty());
        all.clear();
    }
}
