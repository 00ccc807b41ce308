// BaseLayout has no bar for the address of another document; the validator is an external service.
window.ui = SwaggerUIBundle({
  url: "../openapi.json",
  dom_id: "#api",
  layout: "BaseLayout",
  presets: [SwaggerUIBundle.presets.apis],
  deepLinking: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
  validatorUrl: null,
});
