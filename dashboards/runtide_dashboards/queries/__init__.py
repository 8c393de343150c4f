"""All SQL of the dashboard: one module for each kind of question; `store` asks them."""
