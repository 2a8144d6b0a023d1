//! An answer of the running process, for people: one line a field, in the order and words of the answer.

use serde_json::Value;

/// The answer as indented text, ending in a line break.
pub fn render(answer: &Value) -> String {
    let mut text = String::new();
    write_value(&mut text, answer, 0);
    text
}

fn write_value(text: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(fields) => {
            let width = fields.keys().map(String::len).max().unwrap_or(0);
            for (name, value) in fields {
                let name = name.replace('_', " ");
                match flat(value) {
                    Some(flat) => text.push_str(&format!("{:depth$}{name:width$}  {flat}\n", "")),
                    None => {
                        text.push_str(&format!("{:depth$}{name}\n", ""));
                        write_value(text, value, depth + 2);
                    }
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                match flat(item) {
                    Some(flat) => text.push_str(&format!("{:depth$}{flat}\n", "")),
                    None => write_value(text, item, depth),
                }
            }
        }
        flat_value => text.push_str(&format!("{:depth$}{}\n", "", flat(flat_value).unwrap_or_default())),
    }
}

/// A value that fits on the line of its name.
fn flat(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some("none".to_owned()),
        Value::Bool(yes) => Some(if *yes { "yes" } else { "no" }.to_owned()),
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.clone()),
        Value::Array(items) if items.is_empty() => Some("none".to_owned()),
        Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_line_up_and_nested_ones_are_indented() {
        let answer = json!({
            "serving": "new",
            "longest_stall_ms": 312,
            "phases": [{"name": "hold", "ms": 1}, {"name": "drain", "ms": 40}],
            "warnings": [],
        });
        assert_eq!(
            render(&answer),
            "longest stall ms  312\nphases\n  ms    1\n  name  hold\n  ms    40\n  name  drain\n\
             serving           new\nwarnings          none\n"
        );
    }
}
