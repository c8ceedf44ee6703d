"""One module a study: from settings to arrays, and what the paper claims about them."""
