"""A fitted model behind HTTP: a web application, and the page that people use it by."""
