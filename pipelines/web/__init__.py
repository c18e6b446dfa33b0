"""The search page: a web server over one catalog that only reads."""
