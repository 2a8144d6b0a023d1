//! What a repair would write, and what it has written, for people.

use migrate::{RepairPlan, RepairReport, RepairedTable};

use super::table::{grouped, lined_up};

/// The statements, a line each.
pub fn render_plan(target: &str, plan: &RepairPlan) -> String {
    let mut text = format!("to make the rows on {target} equal:\n");
    for table in &plan.tables {
        let rows = table.statements.len() as u64 + table.not_shown;
        text.push_str(&format!("{}, {} to repair\n", table.table, grouped(rows)));
        for statement in &table.statements {
            text.push_str(&format!("  {};\n", statement.sql));
        }
        if table.not_shown > 0 {
            text.push_str(&format!(
                "  … and {} more, which are too many to show\n",
                grouped(table.not_shown)
            ));
        }
    }
    text
}

/// What was repaired, as text that ends in a line break.
pub fn render_report(move_name: &str, report: &RepairReport) -> String {
    let outcome = match report.different {
        0 => "every row that differed is equal now".to_owned(),
        left => format!("NOT EQUAL, {} rows still differ", grouped(left)),
    };
    let mut text = format!("move {move_name}: {outcome}\n");
    let header = ["table", "repaired", "differing"].map(str::to_owned);
    let table = |t: &RepairedTable| [t.table.to_string(), grouped(t.repaired), grouped(t.different)];
    text.push_str(&lined_up(std::iter::once(header).chain(report.tables.iter().map(table))));
    for table in &report.tables {
        if let Some(why) = &table.refused {
            text.push_str(&format!("{} was not repaired as a whole: {why}\n", table.table));
        }
    }
    if report.keys_in_flight > 0 {
        text.push_str(&format!(
            "{} keys were written to all the time, and are proven again on their own\n",
            grouped(report.keys_in_flight)
        ));
    }
    text.push_str(&format!("as of {}, in {:.1} s\n", report.as_of, report.seconds));
    text
}

#[cfg(test)]
mod tests {
    use migrate::{RepairPlanTable, RepairStatement};
    use model::TableName;

    use super::*;

    #[test]
    fn statements_are_shown_by_table_and_what_is_not_shown_is_counted() {
        let sql = "DELETE FROM `shop`.`items` WHERE `id` = 7";
        let statements = vec![RepairStatement { key: "7".into(), sql: sql.into() }];
        let items = RepairPlanTable { table: TableName::new("shop", "items"), statements, not_shown: 1_200 };
        let expected = "\
to make the rows on new equal:
shop.items, 1,201 to repair
  DELETE FROM `shop`.`items` WHERE `id` = 7;
  … and 1,200 more, which are too many to show
";
        assert_eq!(render_plan("new", &RepairPlan { id: 1, tables: vec![items] }), expected);
    }

    #[test]
    fn what_was_repaired_reads_as_a_table() {
        let table = |name: &str, repaired, different| RepairedTable {
            table: TableName::new("shop", name),
            repaired,
            keys_in_flight: 0,
            different,
            refused: (different > 0).then(|| "it is locked".to_owned()),
        };
        let report = RepairReport {
            tables: vec![table("items", 1_000, 0), table("orders", 0, 2)],
            repaired: 1_000,
            different: 2,
            keys_in_flight: 3,
            as_of: "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5".parse().unwrap(),
            seconds: 0.25,
        };
        let expected = "\
move shop: NOT EQUAL, 2 rows still differ
  table        repaired  differing
  shop.items      1,000          0
  shop.orders         0          2
shop.orders was not repaired as a whole: it is locked
3 keys were written to all the time, and are proven again on their own
as of 3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5, in 0.2 s
";
        assert_eq!(render_report("shop", &report), expected);
    }
}
