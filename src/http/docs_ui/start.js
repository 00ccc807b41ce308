// Without the layout that has a bar for other documents' addresses, and without the validator, which is elsewhere.
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
