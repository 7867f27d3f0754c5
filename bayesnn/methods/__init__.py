"""Methods: one file and one ``fit_*`` each. Every one ends in a function from inputs to a `Predictive`."""
