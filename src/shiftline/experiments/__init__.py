"""Studies that are ready to run, by the name that the command line takes."""

BUILT_IN = {"digits": "shiftline.experiments.digits:Digits"}
