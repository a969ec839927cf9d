//! Columns as a CustomResourceDefinition declares them, judged before they are served.

use serde_json::Value;

use crate::jsonpath::JsonPath;
use crate::status::Cause;

/// The OpenAPI types that a column may have.
const TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];

/// What is wrong with `additionalPrinterColumns` (a list, or nothing), whose path is `path`. Fields that are missing
/// are left to the schema of definitions, which requires them.
pub fn validate_columns(columns: &Value, path: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (index, column) in columns.as_array().into_iter().flatten().enumerate() {
        let field = |name: &str| format!("{path}[{index}].{name}");
        let text = |name: &str| column.get(name).and_then(Value::as_str);
        if text("name") == Some("") {
            causes.push(Cause::required(field("name"), ""));
        }
        if let Some(kind) = text("type").filter(|kind| !TYPES.contains(kind)) {
            let detail = format!("must be one of {}", TYPES.join(","));
            causes.push(Cause::invalid(field("type"), &Value::from(kind), &detail));
        }
        if let Some(json_path) = text("jsonPath")
            && let Err(why) = JsonPath::parse(json_path)
        {
            causes.push(Cause::invalid(
                field("jsonPath"),
                &Value::from(json_path),
                &why,
            ));
        }
    }
    causes
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_that_could_not_be_shown_are_named() {
        let good =
            json!([{"name": "A", "type": "date", "jsonPath": ".metadata.creationTimestamp"}]);
        assert_eq!(validate_columns(&good, "c"), vec![]);
        assert_eq!(validate_columns(&Value::Null, "c"), vec![]);
        let bad = json!([{"name": ""}, {"name": "A", "type": "text", "jsonPath": ".a["}]);
        let texts: Vec<String> = validate_columns(&bad, "c")
            .iter()
            .map(|cause| cause.to_string())
            .collect();
        assert_eq!(
            texts,
            [
                "c[0].name: Required value",
                "c[1].type: Invalid value: \"text\": must be one of boolean,date,integer,number,string",
                "c[1].jsonPath: Invalid value: \".a[\": JSON path \".a[\": expected a number, a name in quotes, * or ?( after [",
            ]
        );
    }
}
