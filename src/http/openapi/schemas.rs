//! The schemas of the types that are sent, collected under `components`.

use schemars::JsonSchema;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value};

/// OpenAPI 3.1 takes JSON Schema 2020-12 as it is; only the place of shared ones differs.
pub struct Schemas(SchemaGenerator);

impl Default for Schemas {
    fn default() -> Self {
        let settings = SchemaSettings::draft2020_12()
            .with(|settings| settings.definitions_path = "/components/schemas".into())
            .for_serialize();
        Self(settings.into_generator())
    }
}

impl Schemas {
    /// What stands for `T`: a reference to its schema, or the schema itself where it is a small one.
    pub fn of<T: JsonSchema>(&mut self) -> Value {
        self.0.subschema_for::<T>().to_value()
    }

    /// The properties of `T`, by name.
    pub fn properties<T: JsonSchema>(&mut self) -> Map<String, Value> {
        let schema = T::json_schema(&mut self.0).to_value();
        schema["properties"].as_object().cloned().unwrap_or_default()
    }

    pub fn finish(mut self) -> Map<String, Value> {
        self.0.subschema_for::<super::super::problem::Body>();
        self.0.take_definitions(true)
    }
}
