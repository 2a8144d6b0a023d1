//! The triggers that a fence around tables is made of: what they are called, what they say, and what makes them complete, as a function of
//! what stands there. So what was begun may be done again, from wherever it was left.

use model::{TableName, quote_ident};

use crate::schema::objects::FENCE_TRIGGERS;

/// What a row must not be done, one trigger each.
pub(super) const EVENTS: [&str; 3] = ["INSERT", "UPDATE", "DELETE"];

/// Characters of a move's name that an error message can hold, which has 128.
const NAME_SHOWN: usize = 40;

/// A trigger that stands before a row is touched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    pub table: TableName,
    pub name: String,
    pub event: String,
    pub body: String,
    /// Whether it fires before all others of its table and event.
    pub first: bool,
}

impl Standing {
    /// Whether it is part of a fence.
    pub fn is_ours(&self) -> bool {
        self.name.starts_with(FENCE_TRIGGERS)
    }

    /// The statement that removes it.
    pub fn dropping(&self) -> String {
        format!("DROP TRIGGER IF EXISTS {}.{}", quote_ident(&self.table.schema), quote_ident(&self.name))
    }
}

/// A trigger's name: one for each table of a schema, however long that table's name is.
fn name_of(table: &str, event: &str) -> String {
    // FNV-1a: the same in every version of this program.
    let hash = table.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{FENCE_TRIGGERS}{hash:016x}_{}", event.to_ascii_lowercase())
}

/// What it does. The settings allow letters, digits, `-` and `_` in a move's name.
fn body(move_name: &str) -> String {
    let shown: String = move_name.chars().take(NAME_SHOWN).collect();
    format!(
        "IF @highwater_session IS NULL THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = \
         'fenced by Highwater: the table is served elsewhere, or about to be (move {shown})'; END IF"
    )
}

/// The statements that make the fence complete, and nothing else of ours: first what goes, then what is created.
pub(super) fn changes(tables: &[TableName], standing: &[Standing], move_name: &str) -> Vec<String> {
    let body = body(move_name);
    let right = |one: &Standing| {
        tables.contains(&one.table) && one.name == name_of(&one.table.table, &one.event) && one.body == body
    };
    let ours = || standing.iter().filter(|one| one.is_ours());
    let dropped = ours().filter(|one| !right(one)).map(Standing::dropping);
    let mut all: Vec<String> = dropped.collect();
    for table in tables {
        for event in EVENTS {
            if ours().any(|one| one.table == *table && one.event == event && right(one)) {
                continue;
            }
            // Before the others, so that none of them does anything first.
            let of_it = |one: &&Standing| one.table == *table && one.event == event && one.first;
            let before = standing.iter().filter(|one| !one.is_ours()).find(of_it);
            let before = before.map_or(String::new(), |one| format!("PRECEDES {} ", quote_ident(&one.name)));
            let name = TableName::new(table.schema.as_str(), name_of(&table.table, event));
            all.push(format!(
                "CREATE TRIGGER {} BEFORE {event} ON {} FOR EACH ROW {before}{body}",
                name.as_is().quoted(),
                table.as_is().quoted()
            ));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders() -> TableName {
        TableName::new("shop", "orders")
    }

    fn ours(table: &TableName, named_for: &str, event: &str, body: &str) -> Standing {
        let (name, event, body) = (name_of(named_for, event), event.to_owned(), body.to_owned());
        Standing { table: table.clone(), name, event, body, first: true }
    }

    fn whole() -> Vec<Standing> {
        EVENTS.map(|event| ours(&orders(), "orders", event, &body("shop"))).to_vec()
    }

    #[test]
    fn a_fence_that_is_whole_is_left_alone_and_one_that_is_not_is_completed() {
        let tables = [orders()];
        assert!(changes(&tables, &whole(), "shop").is_empty());
        assert_eq!(changes(&tables, &[], "shop").len(), 3);
        let half = changes(&tables, &whole()[..2], "shop");
        assert!(half.len() == 1 && half[0].contains("BEFORE DELETE ON `shop`.`orders`"), "{half:?}");
        // Another move's, or an older version's.
        let other = changes(&tables, &whole(), "other");
        assert_eq!(other.len(), 6);
        assert!(other[..3].iter().all(|sql| sql.starts_with("DROP TRIGGER IF EXISTS `shop`.")), "{other:?}");
    }

    #[test]
    fn tables_that_have_exchanged_names_exchange_their_triggers() {
        let (a, b) = (TableName::new("s", "a"), TableName::new("s", "b"));
        let text = body("m");
        let mut standing: Vec<_> = EVENTS.map(|event| ours(&b, "a", event, &text)).to_vec();
        standing.extend(EVENTS.map(|event| ours(&a, "b", event, &text)));
        let all = changes(&[a, b], &standing, "m");
        assert_eq!(all.len(), 12);
        assert!(
            all[..6].iter().all(|sql| sql.starts_with("DROP")),
            "a name is free before it is given again"
        );
    }

    #[test]
    fn it_stands_before_what_the_application_has() {
        let theirs = Standing {
            table: orders(),
            name: "audit".into(),
            event: "INSERT".into(),
            body: "SET @x = 1".into(),
            first: true,
        };
        let all = changes(&[orders()], std::slice::from_ref(&theirs), "shop");
        assert!(all[0].contains("FOR EACH ROW PRECEDES `audit` IF "), "{all:?}");
        assert!(!all[1].contains("PRECEDES"), "{all:?}");
        assert!(all.iter().all(|sql| !sql.contains("DROP")), "what is not ours stays");
    }

    #[test]
    fn names_and_messages_fit_whatever_the_tables_and_the_move_are_called() {
        let long = "t".repeat(64);
        assert!(name_of(&long, "INSERT").len() <= 64);
        assert_ne!(name_of("a", "INSERT"), name_of("b", "INSERT"));
        assert_eq!(
            name_of("orders", "INSERT"),
            "highwater_fence_00125d9250be8b4c_insert",
            "never another one"
        );
        let text = body(&"m".repeat(200));
        let message = text.split("MESSAGE_TEXT = '").nth(1).unwrap().split('\'').next().unwrap();
        assert!(message.len() <= 128, "{}", message.len());
    }
}
