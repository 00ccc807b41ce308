//! The JSON schemas of response types, collected under `components`.

use schemars::JsonSchema;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value};

/// A collection of schemas: OpenAPI 3.1 uses JSON Schema 2020-12, with shared schemas in another place.
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
    /// Returns a reference to the schema of `T`, or the schema itself if it is small.
    pub fn of<T: JsonSchema>(&mut self) -> Value {
        self.0.subschema_for::<T>().to_value()
    }

    /// Returns the properties of `T` by name.
    pub fn properties<T: JsonSchema>(&mut self) -> Map<String, Value> {
        let schema = T::json_schema(&mut self.0).to_value();
        schema["properties"].as_object().cloned().unwrap_or_default()
    }

    pub fn finish(mut self) -> Map<String, Value> {
        self.0.subschema_for::<super::super::problem::Body>();
        self.0.take_definitions(true)
    }
}
