"""What describes a class: numbers from a table, or texts through an encoder; several of them put together."""
