"""numpy, cut down to arrays, data types and ufuncs."""
