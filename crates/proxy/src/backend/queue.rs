//! Who waits for a backend connection, and in what order they are served: account after account, one of each at a time.
//!
//! ```text
//! turns:  app: 3 2 1     report: 1      billing: 2 1      served: app, report, billing, app, billing, app
//! ```
//!
//! Within an account first come is first served. So a crowd of one account keeps another's clients waiting for one of its own at
//! most, however large it is. An account is a name here: its passwords and dialects do not give it more turns.

use std::collections::VecDeque;
use std::sync::Arc;

/// One kind of thing that waits, with whom it belongs to.
#[derive(Debug)]
pub(crate) struct Turns<T> {
    lines: VecDeque<Line<T>>,
    len: usize,
    last_ticket: u64,
}

/// Those of one account; never empty.
#[derive(Debug)]
struct Line<T> {
    user: Arc<[u8]>,
    waiting: VecDeque<(u64, T)>,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self { lines: VecDeque::new(), len: 0, last_ticket: 0 }
    }
}

impl<T> Turns<T> {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Joins, behind those of the same account; the ticket is for [`Turns::leave`].
    pub fn join(&mut self, user: &[u8], waiter: T) -> u64 {
        self.last_ticket += 1;
        let ticket = (self.last_ticket, waiter);
        self.len += 1;
        match self.lines.iter_mut().find(|line| *line.user == *user) {
            Some(line) => line.waiting.push_back(ticket),
            None => self.lines.push_back(Line { user: user.into(), waiting: [ticket].into() }),
        }
        self.last_ticket
    }

    /// Whose turn it is.
    pub fn first(&self) -> Option<&T> {
        self.lines.front()?.waiting.front().map(|(_, waiter)| waiter)
    }

    /// Takes it; the next turn is another account's.
    pub fn take_first(&mut self) -> Option<T> {
        let mut line = self.lines.pop_front()?;
        let (_, first) = line.waiting.pop_front()?;
        self.len -= 1;
        if !line.waiting.is_empty() {
            self.lines.push_back(line);
        }
        Some(first)
    }

    /// Gives a place up, if it is not taken yet.
    pub fn leave(&mut self, ticket: u64) {
        for at in 0..self.lines.len() {
            let waiting = &mut self.lines[at].waiting;
            // Tickets rise along a line.
            let Ok(place) = waiting.binary_search_by_key(&ticket, |(ticket, _)| *ticket) else { continue };
            waiting.remove(place);
            self.len -= 1;
            if waiting.is_empty() {
                self.lines.remove(at);
            }
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rest(turns: &mut Turns<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| turns.take_first()).collect()
    }

    #[test]
    fn accounts_take_turns_and_within_one_first_come_is_first_served() {
        let mut turns = Turns::default();
        for waiter in ["a1", "a2", "a3", "a4", "b1", "c1", "b2"] {
            turns.join(&waiter.as_bytes()[..1], waiter);
        }
        assert_eq!((turns.len(), turns.first()), (7, Some(&"a1")));
        assert_eq!(turns.take_first(), Some("a1"));
        // Who comes again and again has no more turns for it.
        turns.join(b"a", "a5");
        assert_eq!(rest(&mut turns), ["b1", "c1", "a2", "b2", "a3", "a4", "a5"]);
        assert_eq!((turns.len(), turns.first()), (0, None));
    }

    #[test]
    fn who_leaves_is_not_served_and_holds_nobody_up() {
        let mut turns = Turns::default();
        let tickets = ["a1", "a2", "b1", "a3"].map(|waiter| turns.join(&waiter.as_bytes()[..1], waiter));
        turns.leave(tickets[2]);
        turns.leave(tickets[0]);
        turns.leave(tickets[0]);
        assert_eq!(turns.len(), 2);
        assert_eq!(rest(&mut turns), ["a2", "a3"]);
        turns.leave(tickets[1]);
        assert_eq!(turns.len(), 0);
    }
}
