"""The tables of a study, a module each: `registry` lists them."""
